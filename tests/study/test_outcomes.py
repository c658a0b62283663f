"""What came out of a study: planted gains are found where they were planted, and every number is what it says."""
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lib.data.images import Images
from lib.study import arms, fitting, outcomes, statistics
from lib.study.results import Estimate

CLASSES = ("a", "b", "c")


def predicted(rng, difficulty, labels, accuracy, generators=1, seeds=5, shared=0.8):
    """Predictions whose seeds agree on the hard images: `shared` of all outcomes are the image's, the rest chance."""
    shape = (1, generators, seeds, len(labels))
    right = np.where(rng.random(shape) < shared, difficulty < accuracy, rng.random(shape) < accuracy)
    return np.where(right, labels, (labels + 1 + rng.integers(2, size=shape)) % 3)


def simulated(seed=0, n=1500, **accuracies):
    """({arm: predictions}, labels) of real, two rivals, and mixed arms of two generators."""
    rng = np.random.default_rng(seed)
    difficulty, labels = rng.random(n), rng.integers(3, size=n)
    arms_ = {"real": 1, "real + shift": 1, "real + synthetic": 2, "real + shift + synthetic": 2, "real, equal epochs": 1,
             "real, equal presentations": 1}
    given = {name.replace(" ", "_").replace("+", "and").replace(",", ""): name for name in arms_}
    level = {given[k]: v for k, v in accuracies.items()}
    return {name: predicted(rng, difficulty, labels, level.get(name, 0.7), generators)
            for name, generators in arms_.items()}, labels


def test_a_planted_gain_and_a_planted_loss_are_found_in_their_arms():
    p, labels = simulated(real_and_synthetic=0.78, real_and_shift=0.62)
    assert outcomes.difference(p, labels, "real + synthetic", "real").above_zero
    assert outcomes.difference(p, labels, "real + shift", "real").below_zero
    assert not outcomes.difference(p, labels, "real, equal epochs", "real").clear


def test_a_difference_is_that_of_the_accuracies_over_all_networks():
    p, labels = simulated(real_and_synthetic=0.76)
    e = outcomes.difference(p, labels, "real + synthetic", "real")
    means = [statistics.accuracy(p[arm], labels).mean() for arm in ("real + synthetic", "real")]
    assert e.value == pytest.approx(means[0] - means[1]) and (e.n, e.unit) == (10, "points")


def test_an_arm_that_was_not_trained_has_no_difference():
    p, labels = simulated()
    assert outcomes.difference(p, labels, "real + flip", "real") is None


def test_the_secondary_questions_are_the_rivals_and_are_corrected_for_two():
    p, labels = simulated(real_and_synthetic=0.74, real_and_shift_and_synthetic=0.78)
    asked = outcomes.contrasts(p, labels, "real + shift")
    assert [(c.arm, c.against, c.at_optimum) for c in asked] == [
        ("real + shift", "real + synthetic", False), ("real + shift + synthetic", "real + shift", False)]
    assert [c.p for c in asked] == pytest.approx(list(statistics.holm([c.difference.p for c in asked])))


def test_a_question_that_could_not_be_asked_is_told_and_counts_in_the_correction():
    """The referee's example: on CIFAR-10 one contrast was left, so that Holm's correction did nothing."""
    p, labels = simulated(real_and_synthetic=0.74)
    del p["real + shift + synthetic"]
    first, second = outcomes.contrasts(p, labels, "real + shift")
    assert (second.arm, second.difference, second.p) == ("real + shift + synthetic", None, None)
    assert first.p == pytest.approx(min(1, 2 * first.difference.p))
    assert [(c.difference, c.p) for c in outcomes.contrasts(p, labels, "")] == [(None, None)] * 2


def test_the_secondary_questions_are_asked_at_the_optimum_where_the_headline_is():
    p, labels = simulated(real_and_synthetic=0.74)
    p |= {outcomes.at_its_optimum(arm): p[other] for arm, other in (
        ("real + synthetic", "real + synthetic"), ("real + shift", "real"), ("real + shift + synthetic", "real + shift + synthetic"))}
    first, second = outcomes.contrasts(p, labels, "real + shift", at_optimum=True)
    assert first.at_optimum and first.difference == outcomes.difference(p, labels, "real", "real + synthetic")
    assert second.difference == outcomes.difference(p, labels, "real + shift + synthetic", "real")


def around(value, half):
    return Estimate(value, value - half, value + half, 10, "replicates", "points", df=9.0)


@pytest.mark.parametrize("gains, verdict", [
    ([around(3, 1), around(2, 1), around(1.5, 1)], "helps"), ([around(-3, 1), around(-2, 1)], "hurts"),
    ([around(0.1, 0.3), around(-0.1, 0.2)], "none"), ([around(3, 1), around(1, 2)], "open"),
    ([around(-0.578, 0.4), around(-0.018, 0.6), around(0.0, 0.7)], "open"),             # the referee's: displacement alone
    ([around(3, 1), Estimate(2.0, n=2, of="replicates", unit="points")], "")])
def test_a_verdict_needs_every_comparison(gains, verdict):
    assert outcomes.verdict(gains, margin=0.5) == verdict


def test_pairs_are_networks_of_the_same_seed():
    a, b = np.arange(6).reshape(1, 1, 2, 3), 10 * np.arange(18).reshape(1, 3, 2, 3)
    x, y = outcomes.pairs(a, b)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]] * 3 and y.tolist() == b.reshape(6, 3).tolist()
    with pytest.raises(ValueError):
        outcomes.pairs(b, np.concatenate([a, a], 1))                    # two generators beside three: no pairs


def test_the_change_of_a_classs_recall_is_the_diagonal_of_the_changed_confusion():
    p, labels = simulated(real_and_synthetic=0.78)
    good = pd.DataFrame({"label_agreement": [90.0, 80, 70], "coverage": [50.0, 60, 70], "coverage_perfect": 75.0})
    table = outcomes.by_class(p, labels, CLASSES, [good, good + 10])
    recall = [[100 * (p[arm][..., labels == k] == k).mean() for k in range(3)] for arm in ("real", "real + synthetic")]
    assert table["change of recall"].tolist() == pytest.approx(list(np.subtract(recall[1], recall[0])))
    assert table["label_agreement"].tolist() == [95, 85, 75] and list(table.index) == list(CLASSES)
    matrices = outcomes.confusion(p, labels, CLASSES)
    assert np.diag(matrices.loc["real"]) == pytest.approx(recall[0])
    assert matrices.sum(axis=1).to_numpy() == pytest.approx(np.full(6, 100))


def test_a_class_that_rises_in_every_replicate_has_a_small_p_and_one_that_stays_has_none():
    rng, labels = np.random.default_rng(0), np.repeat([0, 1, 2], 100)
    right = {arm: rng.random((10, 1, 1, 300)) < np.where(labels == 0, share, 0.6) for arm, share in (("real", 0.6), ("real + synthetic", 0.9))}
    p = {arm: np.where(r, labels, (labels + 1) % 3) for arm, r in right.items()}
    for arm in p:
        p[arm][rng.random((10, 1, 1, 300)) < 0.4] = statistics.NOT_TESTED               # every replicate tests images of its own
    good = pd.DataFrame({"label_agreement": [90.0] * 3, "coverage": 50.0, "coverage_perfect": 75.0})
    table = outcomes.by_class(p, labels, CLASSES, [good])
    assert table["change of recall"].iloc[0] == pytest.approx(30, abs=6)
    assert table["p"].iloc[0] < 0.001 and (table["p"].iloc[1:] > 0.05).all()


def known(*shares):
    """A Fit of one replicate whose networks, one for each share, are right on that share of 100 images."""
    right = np.stack([100.0 * (np.arange(100) < share * 100) for share in shares])
    return fitting.Fit([], [], right[None, None])


def test_the_gain_at_two_rates_and_its_change_are_measured_on_the_validation_images():
    r = outcomes.rate_change((0.1, known(0.5, 0.5), known(0.6, 0.7)), (0.3, known(0.5, 0.6), known(0.9, 0.9)))
    assert (r.low_gain, r.high_gain, r.change.value) == pytest.approx((15, 35, 20)) and (r.low_rate, r.high_rate) == (0.1, 0.3)
    assert r.change.n == 2 and r.change.low < 20 < r.change.high


def test_of_replicates_the_change_of_the_gain_is_taken_over_each_ones_own_validation_images():
    train, validation = [images(20, r) for r in range(3)], [images(30 + r, 9 + r) for r in range(3)]
    recipe = fitting.Recipe("mlp", [4], 5, 8, 0.01, 0.0, "adamw", 0.5, 2, 0, torch.device("cpu"))
    real, mixed = (fitting.fit(mix, recipe, validation) for mix in (arms.mix(train), arms.mix(train, [validation])))
    r = outcomes.rate_change((0.1, real, mixed), (0.3, mixed, real))
    assert (r.low_gain, r.high_gain) == pytest.approx((mixed.validation - real.validation, real.validation - mixed.validation))
    each = [np.nanmean(fit.right, (1, 2, 3)) for fit in (real, mixed)]
    change = 2 * (each[0] - each[1])
    assert r.change.n == 3 and r.change.df == 2                                     # no image is judged twice: Student's t
    assert statistics.standard_error(r.change) == pytest.approx(change.std(ddof=1) / 3**0.5)


def images(n, seed):
    g = torch.Generator().manual_seed(seed)
    return Images(torch.randint(0, 256, (n, 1, 8, 8), generator=g, dtype=torch.uint8), torch.arange(n) % 3, CLASSES)


def test_at_the_optimum_the_gain_is_against_real_at_its_own():
    p, labels = simulated(real_and_synthetic=0.8)
    p |= {outcomes.at_its_optimum("real"): p["real + shift"], outcomes.at_its_optimum("real + synthetic"): p["real + synthetic"]}
    recipe = SimpleNamespace(steps=500, lr=0.1)
    real, mixed = outcomes.at_optimum(p, labels, {name: fitting.Optimum(None, recipe, True) for name in ("real", "real + synthetic")})
    assert real.gain is None and mixed.gain == outcomes.difference(p, labels, "real + synthetic", "real + shift")
    assert (mixed.steps, mixed.lr, mixed.edge) == (500, 0.1, True)


def test_a_replicate_that_failed_counts_once_however_many_of_its_runs_are_missing():
    assert outcomes.planned(8, ["a/cosine.3", "a/unguided.3", "a/cosine.7"]) == 10 and outcomes.planned(0, []) == 0


def test_a_single_learning_rate_has_no_change():
    assert outcomes.rate_change((0.1, known(0.5), known(0.6)), (0.1, known(0.5), known(0.6))) is None


def test_the_answer_holds_what_its_parts_say():
    p, labels = simulated(real_and_synthetic=0.76)
    train = Images(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.arange(6) % 3, CLASSES)
    made = Images(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), torch.arange(9) % 3, CLASSES)
    built = arms.build(list(p), arms.Sources([train], [[made], [made]]), arms.ArmOptions(100, 8, 0.5))
    good = pd.DataFrame({"label_agreement": [90.0] * 3, "coverage": 50.0, "coverage_perfect": 75.0})
    result = outcomes.answer(
        p, SimpleNamespace(labels=labels, hashes=["a1"]), {arm: known(0.70, 0.72) for arm in p}, built,
        SimpleNamespace(classifier="strong-mlp", steps=100, lr=0.1, seeds=5), fitting.Choices([[0] * 40]),
        [SimpleNamespace(by_class=good)] * 2, setting="the only one", generator="a", filter_share=None, rates=None, rival="real + shift")
    assert result.networks.loc["real"].dropna().mean() == pytest.approx(result.arm("real").accuracy.value)
    assert result.gain == outcomes.difference(p, labels, "real + synthetic", "real") == result.arm("real + synthetic").gain
    assert result.paper_gain.value == pytest.approx(result.gain.value + result.steps_gain.value)
    assert (result.rival, result.classifier, result.generators) == ("real + shift", "strong MLP", 2)
    assert (result.real_images, result.synthetic_images, result.validation_images, result.test_images) == (6, 9, 40, 1500)
    assert {a.arm: a.steps for a in result.arms} == {
        arm: 40 if "epochs" in arm else 50 if "presentations" in arm else 100 for arm in p}
    assert result.presentation_gain.value == pytest.approx(result.gain.value - result.displacement.value)
    assert result.headline == result.gain and result.verdict == "helps" and result.test_sets == ("a1",)
    assert result.arm("real").gain is None and result.arm("real").validation == pytest.approx(71)
    assert result.detectable == statistics.detectable(result.gain)
    assert result.variance["variance"].sum() == pytest.approx(statistics.standard_error(result.gain)**2)


def test_the_gain_of_each_setting_of_a_generator_is_beside_its_distance_and_at_the_optimum_where_there_is_one():
    rng, labels = np.random.default_rng(0), np.zeros(200, int)
    drawn = {arm: (rng.random((3, 1, 1, 200)) > right).astype(int) for arm, right in
             (("real", 0.5), ("real + synthetic", 0.6), ("real + oracle", 0.7), ("real, at its optimum", 0.55),
              ("real + oracle, at its optimum", 0.9))}

    def made(images, distance, reference, **config):
        result = SimpleNamespace(frechet=Estimate(distance), reference=Estimate(reference))
        return SimpleNamespace(config=config, result=result), SimpleNamespace(result=SimpleNamespace(images=images))

    own, oracle = outcomes.generator_gains(drawn, labels, {
        "real + synthetic": arms.Setting("real + synthetic", "rung 100", [made(900, 4.0, 0.5, rung=100), made(900, 2.0, 1.0, rung=100)], None),
        "real + oracle": arms.Setting("real + oracle", "the only one", [made(900, 1.0, 0.5)], None)})
    assert (own.arm, own.setting, own.images, own.distance) == ("real + synthetic", "rung 100", 100, 5.0)
    assert own.gain == outcomes.difference(drawn, labels, "real + synthetic", "real")
    assert len(own.each) == 3 and np.mean(own.each) == pytest.approx(own.gain.value)
    assert (oracle.images, oracle.distance) == (900, 2.0)
    assert oracle.gain == outcomes.difference(drawn, labels, "real + oracle, at its optimum", "real, at its optimum")


def test_settings_of_a_generator_are_compared_in_pairs_over_the_same_replicates():
    rng, labels = np.random.default_rng(0), np.zeros(60, int)
    easy = rng.random((6, 1, 1, 60)) < 0.5                                          # what every setting gets right
    predictions = {name: np.where(easy | (rng.random(easy.shape) < more), 0, 1) for name, more in {"a": 0.0, "b": 0.5, "c": 0.5}.items()}
    pairs = outcomes.between_settings(predictions, labels)
    assert [(c.arm, c.against) for c in pairs] == [("b", "a"), ("c", "a"), ("c", "b")]
    right = {name: 100 * (p == 0).mean((1, 2, 3)) for name, p in predictions.items()}
    assert [c.difference.value for c in pairs] == pytest.approx([(right[c.arm] - right[c.against]).mean() for c in pairs])
    p = [c.difference.p for c in pairs]
    assert [c.p for c in pairs] == pytest.approx(statistics.holm(p)) and pairs[0].difference.above_zero and not pairs[2].difference.clear
    assert outcomes.between_settings({}, labels) == ()
