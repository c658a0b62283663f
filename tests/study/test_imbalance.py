"""Classes of different size: how many images are asked for, over-sampling, and the recall in which each class counts."""
import numpy as np
import pytest
import torch

from lib import InputError, data
from lib.data.images import Images
from lib.diffusion.samplers import class_labels
from lib.engine import parameters
from lib.study import REAL, arms, generators, outcomes, statistics

LONG = [60, 43, 31, 22, 16, 11, 8, 6, 4, 3]


# ---------------------------------------------------------------- numbers of images
def test_a_number_a_list_and_a_mapping_say_how_many_images_of_each_class():
    def numbers(value, **options):
        return data.numbers(value, ("cat", "dog", "ship"), others=0, name="n", **options)
    assert numbers(5) == [5, 5, 5] and numbers([1, 2, 3]) == [1, 2, 3] and numbers({"ship": 4}) == [0, 0, 4]
    assert numbers({"fill": 50}, real=[10, 50, 70]) == [40, 0, 0]
    for wrong, words in (([1, 2], "expected 3 numbers, one for each class"), ({"fish": 1}, "'fish' is no class: expected some of cat, dog, ship"),
                         ({"fill": 3}, "'fill' is no class")):
        with pytest.raises(InputError, match=words):
            numbers(wrong)


def test_a_long_tail_is_loaded_by_a_seed_and_keeps_its_balanced_test():
    tail, named = (data.load("digits", per_class=value, seed=3) for value in (LONG, {"9": 3}))
    assert list(tail.counts["train"].values()) == LONG
    assert tail.counts["test"] == data.load("digits", seed=3).counts["test"]
    assert named.counts["train"]["9"] == 3 and named.counts["train"]["0"] == data.load("digits", seed=3).counts["train"]["0"]
    with pytest.raises(InputError, match="per_class=500: expected at most .* all training images of class '4'"):
        data.load("digits", per_class={"4": 500})
    with pytest.raises(InputError, match="expected at least 0"):
        data.load("digits", per_class=[-1] * 10)


def test_as_many_labels_of_each_class_are_drawn_as_asked():
    assert class_labels(3, [1, 0, 3]).tolist() == [0, 2, 2, 2]
    assert class_labels(3, 2).tolist() == class_labels(3, [2, 2, 2]).tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("value", [-1, 1.5, "fill", [], {}, [1, "2"], {"cat": -1}, True])
def test_other_numbers_of_images_are_refused(value):
    values = parameters.defaults(parameters.STEPS["generate"].file) | {"images_per_class": value}
    with pytest.raises(InputError, match="images_per_class=.* a number, a list with one for each class, or {class: number}"):
        parameters.build(parameters.GenerateConfig, values)


def test_a_plan_may_name_digits_by_number_and_a_generation_must_draw_something():
    values = parameters.defaults(parameters.STEPS["generate"].file) | {"images_per_class": {3: 7}}
    config = parameters.build(parameters.GenerateConfig, values)
    assert config.images_per_class == {"3": 7}
    with pytest.raises(InputError, match="no image is asked for"):
        parameters.check_images({"fill": 5}, {"counts": {"train": {"a": 5, "b": 9}}})


# ---------------------------------------------------------------- arms
def images(counts):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    values = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    return Images(values, labels, tuple("abcdef"[:len(counts)]))


def test_balancing_repeats_the_small_classes_evenly():
    made = arms.oversampled(images([5, 2, 1]))
    assert made.labels.bincount().tolist() == [5, 5, 5]
    assert made.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 5, 6, 5, 7, 7, 7, 7, 7]


def test_a_balanced_arm_keeps_its_real_images_where_synthetic_ones_are_added():
    sources = arms.Sources([images([5, 2, 1])], [[images([1, 1, 1])]])
    settings = arms.ArmOptions(100, 8, 0.5)
    balanced, shifted = arms.build(["real, balanced + shift", "real + shift"], sources, settings).values()
    both, plain = arms.beside(balanced, sources), arms.beside(shifted, sources)
    assert both.augment == "shift" and len(both.variants[0][0][0]) == 15 and len(both.variants[0][1][0]) == 3
    assert plain == arms.augmented(sources.mixed(), "shift")


# ---------------------------------------------------------------- macro recall
LABELS = np.repeat([0, 1, 2], [100, 40, 8])


def draws(rng, replicates=6, recall=(0.8, 0.6, 0.3), sd=0.02):
    chance = np.array(recall)[LABELS] + rng.normal(0, sd, (replicates, 1)) + rng.normal(0, 0.1, len(LABELS))
    return 100.0 * (rng.random((replicates, len(LABELS))) < chance)[:, None, None, :]


def test_macro_recall_is_the_mean_of_the_classes_recalls():
    outcomes_ = draws(np.random.default_rng(0))
    by_class = [outcomes_[..., LABELS == k].mean() for k in range(3)]
    e = statistics.macro_estimate(outcomes_, LABELS, "%")
    assert e.value == pytest.approx(np.mean(by_class)) and e.low < e.value < e.high
    assert e.value < outcomes_.mean() - 5                                            # accuracy hides the rare class
    one = statistics.macro_estimate(outcomes_[:1].repeat(3, 2), LABELS, "%")         # crossed: one split, three seeds
    assert one.value == pytest.approx(np.mean([outcomes_[0, ..., LABELS == k].mean() for k in range(3)])) and one.low is not None


def test_its_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = [e.low <= 100 * np.mean([0.8, 0.6, 0.3]) <= e.high for e in
            (statistics.macro_estimate(draws(rng), LABELS, "%") for _ in range(300))]
    assert 0.92 < np.mean(held) <= 1


def test_of_one_class_it_is_the_ordinary_estimate():
    outcomes_ = draws(np.random.default_rng(2))
    a, b = statistics.macro_estimate(outcomes_, np.zeros(len(LABELS))), statistics.estimate(outcomes_)
    assert (a.value, a.low, a.high, a.p) == pytest.approx((b.value, b.low, b.high, b.p))


def test_recalls_and_their_mean_agree():
    rng = np.random.default_rng(3)
    predictions = {arm: rng.integers(0, 3, (5, 1, 1, len(LABELS))) for arm in (REAL, "real, balanced")}
    table = outcomes.recalls(predictions, LABELS, ("a", "b", "c"))
    macro = outcomes.macro_recall(predictions, LABELS, REAL)
    assert np.mean([e.value for e in table[REAL]]) == pytest.approx(macro.value)
    gain = outcomes.macro_recall(predictions, LABELS, "real, balanced", REAL)
    assert gain.value == pytest.approx(np.mean([e.value for e in table["real, balanced"]]) - macro.value) and gain.unit == "points"


def test_images_from_elsewhere_are_a_setting_of_their_own_beside_drawn_ones():
    data_of = {"dataset": "folder", "data_dir": "", "size": 16, "canvas": 0, "per_class": 0}
    drawn = [({**data_of, "data_seed": s, "schedule": "cosine"}, {"train_run": f"t.{s}", "guidance": 1.5, "seed": s}) for s in (0, 1)]
    made = [({**data_of, "data_seed": s, "synthetic_dir": "sdxl", "seed": s},) * 2 for s in (0, 1)]
    other = [({**data_of, "data_seed": s, "synthetic_dir": "edm", "seed": s},) * 2 for s in (0, 1)]
    assert generators.by_setting(drawn + made) == {"drawn": [0, 1], "from elsewhere": [2, 3]}
    assert generators.by_setting(made + other) == {"synthetic_dir sdxl": [0, 1], "synthetic_dir edm": [2, 3]}
    assert generators.by_setting(made) == {"the only one": [0, 1]}
