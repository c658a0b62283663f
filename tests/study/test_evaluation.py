import numpy as np
import pytest
from scipy import stats

from lib.study import statistics as ev


def test_accuracy_is_a_percentage_for_each_seed():
    predictions = np.array([[0, 1, 2, 2], [0, 0, 0, 0]])
    assert ev.accuracy(predictions, [0, 1, 2, 0]).tolist() == [75.0, 50.0]


def test_interval_is_the_one_sample_t_interval():
    values = [1.0, 2.0, 4.0, 4.5]
    mean, half = ev.mean_interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = sum(abs(m - 3) <= h for m, h in (ev.mean_interval(rng.normal(3, 2, 5)) for _ in range(4000)))
    assert hits / 4000 == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 4000) ** 0.5)


def test_summary_has_mean_spread_and_n():
    assert ev.summarise("a", [1, 2, 3]) == {"a": 2.0, "a_sd": 1.0, "a_n": 3}


def test_confusion_rows_are_true_classes_and_sum_to_100():
    m = ev.confusion(np.array([[0, 1, 1, 1], [0, 0, 1, 1]]), np.array([0, 0, 1, 1]), 2)
    assert m.tolist() == [[75.0, 25.0], [0.0, 100.0]]


def test_a_class_that_is_never_predicted_keeps_its_row():
    m = ev.confusion(np.array([[0, 0, 0]]), np.array([0, 1, 2]), 3)
    assert m[:, 0].tolist() == [100, 100, 100] and m[:, 1:].sum() == 0


def test_agreement_is_counted_within_each_class():
    assert ev.class_agreement([0, 1, 1, 1], [0, 0, 1, 1], 2).tolist() == [50.0, 100.0]


def test_a_copy_has_distance_0_and_names_its_original():
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    distance, index = ev.nearest_distance(reference[[7, 3]], reference)
    assert distance.max() < 0.05 and index.tolist() == [7, 3]        # float32 dot products of 192 squares
    brighter = np.clip(reference[[7]].astype(int) // 2 + 60, 0, 255).astype(np.uint8)
    expected = np.sqrt(((brighter[0].astype(float) - reference.astype(float)) ** 2).mean((1, 2, 3))).min()
    assert ev.nearest_distance(brighter, reference)[0][0] == pytest.approx(expected, rel=1e-4)


def test_the_difference_of_two_shares_has_newcombes_interval():
    """Newcombe 1998 (Statistics in Medicine 17, 873), table II, example a, method 10: 56/70 against 48/80."""
    difference, low, high = ev.difference_of_proportions((80, 70), (60, 80))
    assert (difference, low, high) == pytest.approx((20, 5.24, 33.39), abs=0.01)


def test_a_share_of_all_or_none_still_has_an_interval():
    assert ev.proportion_interval(100, 200) == pytest.approx((100 * 200 / (200 + 1.96**2), 100), abs=0.01)
    assert ev.proportion_interval(0, 200)[0] == 0
