"""How arms are trained: repeatably, by the recipe, and chosen on validation images alone."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.data.images import Images
from lib.study import arms, classifiers, fitting, statistics
from lib.study.arms import predicted as study_predicted
from tests.study.test_arms import recipe, toy


def test_the_same_seed_gives_the_same_networks_and_another_others():
    arm, watched = arms.mix([toy(60)], [[toy(40, seed=1)], [toy(40, seed=2)]]), [toy(50, seed=3)]
    a, b, other = (fitting.fit(arm, recipe(steps=20, seed=s, seeds=2), watched) for s in (0, 0, 7))
    for x, y, z in zip(a.models, b.models, other.models, strict=True):
        assert torch.equal(x.weights[0], y.weights[0]) and not torch.equal(x.weights[0], z.weights[0])
    assert np.array_equal(a.right, b.right) and len(a.models) == 2 and a.right.shape == (1, 2, 2, 50)
    assert [step for step, _ in a.curve] == list(range(2, 21, 2)) and all(len(v) == 4 for _, v in a.curve)
    assert all(np.array_equal(x, y) for (_, x), (_, y) in zip(a.curve, b.curve, strict=True))


def test_a_member_does_not_depend_on_how_many_there_are():
    arm, watched = arms.mix([toy(60)], [[toy(40, seed=1)]]), [toy(50, seed=3)]
    many, one = (fitting.fit(arm, recipe(steps=30, seeds=n, seed=s), watched) for n, s in ((4, 0), (1, 2)))
    # the same arithmetic in another batched product: float32 rounding over 30 steps
    torch.testing.assert_close(many.models[0].weights[0][2], one.models[0].weights[0][0], rtol=1e-3, atol=1e-4)
    assert many.right[0, 0, 2].mean() == pytest.approx(one.validation, abs=2.1)              # one of 50 images


def test_the_accuracies_of_a_fit_are_those_of_the_validation_images(monkeypatch):
    monkeypatch.setattr(fitting, "WATCHED", 10)
    arm, watched = arms.mix([toy(60)], [[toy(40, seed=1)], [toy(40, seed=2)]]), [toy(50, seed=3)]
    f = fitting.fit(arm, recipe(steps=40, seeds=3), watched)
    p = np.concatenate([classifiers.predict(m, [watched[0].images])[0] for m in f.models])    # (generators * seeds, N)
    labels = watched[0].labels.numpy()
    assert f.right.mean(-1).ravel() == pytest.approx(statistics.accuracy(p, labels)) and f.validation == pytest.approx(f.right.mean())
    assert f.curve[-1][0] == 40 and f.curve[-1][1] == pytest.approx(statistics.accuracy(p[:, :10], labels[:10]))
    assert len(f.curve) == fitting.POINTS


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_is_judged_in_the_precision_in_which_it_was_trained(monkeypatch, precision):
    seen, predict = [], classifiers.predict
    monkeypatch.setattr(classifiers, "predict", lambda model, images, **options: seen.append(
        "bf16" if torch.is_autocast_enabled("cpu") else "fp32") or predict(model, images, **options))
    arm, watched = arms.mix([toy(60)]), [toy(50, seed=3)]
    f = fitting.fit(arm, recipe(classifier="airbench", widths=[8], steps=4, precision=precision), watched)
    arms.predicted(f.models, watched)
    assert len(seen) >= 3 and set(seen) == {precision}


def test_the_recipe_reaches_the_training(monkeypatch):
    calls = []

    def spy(model, batches, **options):
        calls.append(({"seed": batches.seed, "members": model.members, "batch": batches(0)[1].shape[1],
                       "parts": [len(part.images) for part in batches.parts]}, options))
        yield {"done": options["steps"]}

    monkeypatch.setattr(fitting.classifiers, "train_classifier", spy)
    r = recipe(steps=90, batch=9, lr=0.5, weight_decay=0.25, optimizer="sgd", synthetic_fraction=0.3, seed=4)
    made, totals = toy(6, seed=1), []
    for arm in (arms.mix([toy(8)], [[made]], augment="shift"), arms.mix([toy(8)], steps=30)):
        fitting.fit(arm, r, [toy(8)], lambda records, total, about: totals.append(total) or records)
    (seen, options), (seen_alone, options_alone) = calls
    assert seen == {"seed": 4, "members": 5, "batch": 9, "parts": [8, 6]} and seen_alone == seen | {"parts": [8]}
    same = {"lr": 0.5, "weight_decay": 0.25, "optimizer": "sgd"}
    assert options | same | {"steps": 90} == options and options_alone | same | {"steps": 30} == options_alone
    assert callable(options["augment"]) and options_alone["augment"] is None and totals == [90, 30]


def test_the_choice_is_the_best_on_validation_images_whatever_is_true_elsewhere():
    train, watched = toy(200, signal=40), toy(100, seed=3, signal=40)
    turned = [Images(x.images, (x.labels + 1) % 4, x.classes) for x in (train, watched)]
    candidates = {"right": (arms.mix([train]), recipe()), "turned": (arms.mix([turned[0]]), recipe())}
    choices = fitting.Choices([watched])
    assert choices.best("labels", candidates) == "right" and choices.fit(*candidates["right"]).validation > 80
    assert fitting.Choices([turned[1]]).best("labels", candidates) == "turned"


def fitted(*accuracies, images=1000, seed=0):
    """A Fit of replicates with these accuracies, whose networks are right on the same images as far as that goes."""
    hard = np.random.default_rng(seed).permuted(np.tile(np.arange(images), (len(accuracies), 1)), axis=1)
    right = np.full((len(accuracies), len(accuracies) * images), np.nan)            # each replicate has images of its own
    for r, accuracy in enumerate(accuracies):
        right[r, r * images:(r + 1) * images] = 100.0 * (hard[r] < accuracy / 100 * images)
    return fitting.Fit([], [], right[:, None, None])


def test_of_equals_the_first_is_chosen_and_by_the_mean_of_all_replicates(monkeypatch):
    monkeypatch.setattr(fitting, "fit", lambda mix, recipe, validation, track, about, kept: fitted(*mix))
    choices = fitting.Choices([None])
    assert choices.best("first", {"a": ((10, 20), 0), "b": ((20, 30), 0), "c": ((20, 30), 0)}) == "b"
    assert choices.best("mean", {"low": ((50, 50, 51), 0), "peak": ((0, 0, 99), 0)}) == "low"
    assert choices.table.to_dict("list") == {"choice": ["first", "mean"], "taken": ["b", "low"],
                                             "candidates": ["a: 15.0, b: 25.0, c: 25.0", "low: 50.3, peak: 33.0"]}


def test_two_images_of_358_do_not_decide_a_choice():
    """The referee's example: on another processor two validation images flipped the learning rate, and the headline."""
    few = fitted(*[70.39] * 2, images=179)
    for flipped in (-2, -1, 0, 1, 2):
        other = fitting.Fit([], [], few.right.copy())
        wrong, right = np.argwhere(other.right == 0), np.argwhere(other.right == 100)
        for where in right[:-flipped] if flipped < 0 else wrong[:flipped]:
            other.right[tuple(where)] = 100 - other.right[tuple(where)]
        assert fitting.preferred({"smaller": few, "larger": other}) == "smaller", flipped
    assert fitting.preferred({"smaller": few, "larger": fitted(*[80] * 2, images=179)}) == "larger"


def test_a_candidate_within_one_standard_error_of_the_best_is_taken_if_it_is_smaller():
    shares = {0.25: fitted(60, 62, 61, 63), 0.5: fitted(64, 60, 66, 62), 0.75: fitted(64, 61, 66, 64)}
    behind = np.array([64 - 64, 61 - 60, 66 - 66, 64 - 62])
    assert behind.mean() > behind.std(ddof=1) / 2 and fitting.preferred(shares) == 0.75
    shares[0.5] = fitted(64, 61, 65, 64.5)
    assert fitting.preferred(shares) == 0.5


def chosen_and_covered(rng, replicates_that_choose, R=10, validation=179, test=898):
    """Whether the interval of the gain at each arm's own optimum holds the truth, of one simulated study."""
    true = {"real": (55, 60, 63, 64, 64.5, 65), "mixed": (60, 68, 73, 76, 77, 78)}  # accuracy after more and more updates
    hard = rng.random(validation * 5 + test * 2)                                    # of each image: what it takes
    shift = 0.01 * rng.standard_normal((R, 1))

    def right(accuracy, n, places):
        own = np.where(rng.random((R, n)) < 0.85, hard[places], rng.random((R, n)))
        return 100.0 * (own + shift < accuracy / 100)

    taken, judged = {}, np.stack([rng.permutation(len(hard)) for _ in range(R)])
    for arm, accuracies in true.items():
        fits = {}
        for accuracy in accuracies:
            wide = np.full((R, R * validation), np.nan)
            for r, row in enumerate(right(accuracy, validation, judged[:, :validation])):
                wide[r, r * validation:(r + 1) * validation] = row
            fits[accuracy] = fitting.Fit([], [], wide[:replicates_that_choose, None, None, :replicates_that_choose * validation])
        taken[arm] = fitting.preferred(fits)
    tested = [right(taken[arm], test, judged[:, validation:validation + test]) for arm in ("mixed", "real")]
    points = np.full((R, len(hard)), np.nan)
    np.put_along_axis(points, judged[:, validation:validation + test], tested[0] - tested[1], 1)
    e = statistics.estimate(points[:, None, None])
    return e.low <= max(true["mixed"]) - max(true["real"]) <= e.high


@pytest.mark.slow
def test_the_interval_at_the_own_optimum_covers_the_truth_more_often_if_all_replicates_choose():
    """The referee's example: chosen on two replicates, about 71 % of the intervals hold the gain at the true optima."""
    rng = np.random.default_rng(0)
    all_, two = (np.mean([chosen_and_covered(rng, number) for _ in range(200)]) for number in (10, 2))
    assert all_ >= 0.8 and two <= all_ - 0.08, (all_, two)


def test_the_rival_is_the_classical_arm_that_is_best_on_validation():
    fits = {arm: fitted(*v) for arm, v in (
        ("real", [90, 90]), ("real + flip", [50, 52]), ("real + shift", [60, 58]), ("real + synthetic", [99, 99]))}
    assert fitting.best_rival(fits) == "real + shift"
    assert fitting.best_rival({"real": fits["real"]}) == ""


def test_the_recipe_is_read_from_a_config_but_for_what_is_given():
    config = SimpleNamespace(**{k: v for k, v in vars(recipe()).items() if k != "device"}, arms=["real"])
    assert fitting.Recipe.of(config, device=torch.device("cpu"), lr=0.5) == recipe(lr=0.5)


def test_choices_are_made_on_all_replicates_and_nothing_is_trained_twice(monkeypatch):
    seen = []

    def spy(mix, recipe, validation, track, about, kept):
        seen.append((len(mix.variants[0][0]), len(validation)))
        return fitted(*[50] * len(validation))

    monkeypatch.setattr(fitting, "fit", spy)
    train = [toy(8, seed=s) for s in range(5)]
    choices, mix = fitting.Choices(train), arms.mix(train)
    assert choices.best("rate", {"a": (mix, recipe()), "b": (mix, recipe(lr=1.0))}) == "a"
    choices.fit(mix, recipe())
    choices.fit(arms.mix(train), recipe())                          # the same again
    assert seen == [(5, 5), (5, 5)]
    assert choices.best("setting", {"it": (arms.mix(train), recipe(lr=0.7))}) == "it" and len(seen) == 2   # untried
    assert list(choices.table["candidates"]) == ["a: 50.0, b: 50.0", "no other"]


# ---------------------------------------------------------------- each arm at its own optimum
def best_at(steps, lr):
    """A stand-in of `fit`: validation is highest at these steps and this rate."""
    def fit(mix, recipe, validation, track, about, kept):
        return fitted(*[90.0 - 5 * abs(np.log(recipe.steps / steps)) - 5 * abs(np.log(recipe.lr / lr))] * 2)
    return fit


@pytest.mark.parametrize("steps, taken, edge", [(200, 200, False), (5000, 500, True), (1, 50, True)])
def test_an_arm_takes_the_steps_and_the_rate_that_are_best_on_validation_and_says_where_the_edge_is(monkeypatch, steps, taken, edge):
    monkeypatch.setattr(fitting, "fit", best_at(steps, 0.3))
    choices = fitting.Choices([toy(8)])
    found = fitting.optima(choices, {"real": arms.mix([toy(8)]), "other": arms.mix([toy(8, seed=1)])}, recipe(steps=100),
                         [1, 0.5, 5, 2], [0.1, 0.3])
    assert [(o.recipe.steps, o.recipe.lr, o.edge) for o in found.values()] == [(taken, 0.3, edge)] * 2
    assert {row.count(":") for row in choices.table["candidates"]} == {8}              # as many for each arm
    assert fitting.optima(choices, {"real": arms.mix([toy(8)])}, recipe(), [], [0.1]) == {}


@pytest.mark.parametrize("validation, arm", [
    ([toy(20)], arms.mix([toy(20)], [[toy(40, seed=1)], [toy(40, seed=2)]])),
    ([toy(20), toy(24, seed=5)], arms.mix([toy(20), toy(24, seed=3)], [[toy(40, seed=1), toy(40, seed=2)]]))])
@pytest.mark.parametrize("classifier", ["mlp", "strong-mlp"])
def test_networks_trained_alone_are_those_trained_at_once(validation, arm, classifier):
    r = recipe(classifier=classifier, steps=15, batch=8, seeds=3)
    alone, at_once = [], fitting.fit(arm, r, validation)
    for mix, own, images in fitting.alone(arm, r, validation):
        alone.append(fitting.fit(mix, own, images))
    found = fitting.joined(alone, arm, r)
    if classifier == "mlp":         # dropout draws for all members at once
        for a, b in zip(found.models, at_once.models, strict=True):
            for x, y in zip(a.parameters(), b.parameters(), strict=True):
                torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)
        assert np.nanmean(np.abs(found.right - at_once.right)) < 2
        assert [s for s, _ in found.curve] == [s for s, _ in at_once.curve]
        assert np.abs(np.array([v for _, v in found.curve]) - np.array([v for _, v in at_once.curve])).mean() < 2
    assert found.right.shape == at_once.right.shape and np.array_equal(np.isnan(found.right), np.isnan(at_once.right))
    labels = np.concatenate([images.labels.numpy() for images in validation])
    assert np.array_equal(statistics.right(study_predicted(found.models, validation), labels), found.right, equal_nan=True)
