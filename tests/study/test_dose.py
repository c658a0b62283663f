"""Doses: which images a dose holds, and how many real images synthetic ones are worth."""
import numpy as np
import pytest
import torch

from lib import InputError
from lib.data.images import Images
from lib.study import arms, dose, fitting
from lib.study.dose import Point
from tests.study.test_fitting import fitted


def images(per_class, classes=2, start=0):
    n = per_class * classes
    x = (torch.arange(start, start + n) % 256).to(torch.uint8).view(n, 1, 1, 1).expand(n, 1, 8, 8)
    return Images(x.contiguous(), torch.arange(n) % classes, tuple("abcd"[:classes]))


def planned(**changed):
    given = {"ratios": [0, 0.5, 1], "shares": [0, 0.5, 1], "real_fractions": [0.1, 1], "synthetic_fraction": 0.4}
    return dose.plan([images(10)], [images(20)], **given | changed)


def test_every_curve_changes_one_thing():
    curves = planned()
    assert curves["ratio"] == [(0, Point(1, 0, 0)), (0.5, Point(1, 5, 0.4)), (1, Point(1, 10, 0.4))]
    assert curves["share"] == [(0, Point(1, 0, 0)), (0.5, Point(1, 20, 0.5)), (1, Point(1, 20, 1))]
    assert curves["without"] == [(2, Point(0.1, 0, 0)), (20, Point(1, 0, 0))]
    assert curves["with"] == [(2, Point(0.1, 20, 0.4)), (20, Point(1, 20, 0.4))]
    assert curves["only"] == [(10, Point(1, 5, 1)), (20, Point(1, 10, 1))]


def test_a_dose_of_several_curves_is_trained_once():
    assert len(dose.points(planned())) == len({*dose.points(planned())}) == 10


def test_more_synthetic_images_than_there_are_is_refused():
    with pytest.raises(InputError, match=r"^ratios=\[3\]: expected at most 2, 40 synthetic for 20 real images"):
        planned(ratios=[3])


def test_a_dose_takes_the_first_images_of_each_class_and_its_share_of_the_batch():
    real, made = [images(10)], [images(20, start=100)]
    recipe = fitting.Recipe("mlp", [4], 10, 8, 0.1, 0.0, "adamw", 0.4, 2, 0, torch.device("cpu"))
    arm, changed = dose.mix(Point(0.5, 3, 0.25), real, made, recipe)
    ((some,), (extra,)), = arm.variants
    assert (len(some), len(extra), changed.synthetic_fraction) == (10, 6, 0.25)
    assert extra.images[:, 0, 0, 0].tolist() == [100, 102, 104, 101, 103, 105]
    ((only,), none), = dose.mix(Point(1, 3, 1), real, made, recipe)[0].variants
    assert torch.equal(only.images, extra.images) and none is None
    ((alone,), none), = dose.mix(Point(1, 0, 0), real, made, recipe)[0].variants
    assert len(alone) == 20 and none is None


def test_every_dose_holds_as_many_images_of_each_generator():
    parts = [images(10, start=s) for s in (0, 20, 40)]
    pool, = dose.pools(parts, [0, 0, 0])
    assert sorted(pool.images[:, 0, 0, 0].tolist()) == list(range(60))
    some = arms.first_of_each_class(pool, 6).images[:, 0, 0, 0] // 20                  # which generator
    assert torch.bincount(some).tolist() == [4, 4, 4]


def test_a_replicates_doses_are_of_its_own_images():
    train, synthetic = [images(10), images(10, start=50)], dose.pools([images(20, start=s) for s in (100, 150, 200)], [1, 0, 1])
    assert [len(one) for one in synthetic] == [40, 80]                                 # split 0, then 1 with its two
    recipe = fitting.Recipe("mlp", [4], 10, 8, 0.1, 0.0, "adamw", 0.4, 2, 0, torch.device("cpu"))
    (real, made), = dose.mix(Point(0.5, 3, 0.25), train, synthetic, recipe)[0].variants
    assert [len(images) for images in (*real, *made)] == [10, 10, 6, 6]
    assert real[0].images.max() < 50 <= real[1].images.min() and made[0].images.min() >= 150


# ---------------------------------------------------------------- the exchange rate
def test_on_a_straight_line_in_log_count_the_equal_number_is_exact():
    counts = [10, 40, 160, 640]
    accuracies = [50 + 10 * np.log2(n / 10) for n in counts]         # 10 points for each doubling
    for n in (10, 15, 40, 77.7, 320, 640):
        assert dose.real_images_equal_to(50 + 10 * np.log2(n / 10), counts, accuracies) == pytest.approx(n)
    assert dose.real_images_equal_to(accuracies[-1] + 0.01, counts, accuracies) == np.inf
    assert dose.real_images_equal_to(3, counts, accuracies) == 10


def test_a_dip_of_the_curve_becomes_the_mean_of_its_neighbours():
    """Isotonic regression: 80 and 70 both become 75. (A running maximum would be biased upwards.)"""
    counts, accuracies = [10, 100, 1000, 10000], [60, 80, 70, 90]
    assert dose.real_images_equal_to(75, counts, accuracies) == pytest.approx(100)
    assert dose.real_images_equal_to(82.5, counts, accuracies) == pytest.approx(1000 * 10**0.5)


def predictions(accuracies, n=400, seeds=4):
    """{Point: (1, 1, seeds, n)}: right on an image (label 0) if it is easier than the accuracy, seed by seed a bit other."""
    rng = np.random.default_rng(0)
    hard, own = rng.random(n), rng.normal(0, 0.02, (seeds, 1))
    return {point: (hard + own > a / 100).astype(int)[None, None] for point, a in accuracies.items()}, np.zeros(n, int)


CURVES = {"without": [(10, Point(0.1, 0, 0)), (100, Point(1.0, 0, 0))],
          "only": [(50, Point(1, 5, 1)), (500, Point(1, 50, 1)), (900, Point(1, 90, 1))]}
AT = {Point(0.1, 0, 0): 40, Point(1.0, 0, 0): 80, Point(1, 5, 1): 30, Point(1, 50, 1): 60, Point(1, 90, 1): 95}


def test_the_exchange_rate_is_read_off_the_curve_of_real_images():
    few, some, many = dose.exchange(CURVES, *predictions(AT), draws=200)
    assert few.real.value == 10 and many.real is None and many.per_real is None
    assert some.real.value == pytest.approx(10 * 10**0.5, rel=0.15)              # half way between 40 and 80 %
    assert some.real.low < some.real.value < some.real.high <= 100
    assert (some.per_real.value, some.per_real.low, some.per_real.high) == pytest.approx(
        (500 / some.real.value, 500 / some.real.high, 500 / some.real.low))


def test_two_replicates_have_an_exchange_rate_without_an_interval():
    p, labels = predictions(AT, seeds=2)
    some = dose.exchange(CURVES, {point: own.reshape(2, 1, 1, -1) for point, own in p.items()}, labels, draws=50)[1]
    assert some.real.low is None and some.per_real.low is None and some.real.of == "replicates"


def test_the_interval_of_the_exchange_rate_narrows_with_more_test_images():
    widths = []
    for n in (100, 1600):
        e = dose.exchange(CURVES, *predictions(AT, n, seeds=40), draws=300)[1].real
        widths.append(np.log(e.high / e.low))
    assert widths[1] < 0.6 * widths[0]


def test_bootstrap_means_are_those_of_resampled_seeds_and_images():
    right = np.random.default_rng(1).random((3, 4, 50))
    means = dose.resampled(right, 4000, seed=0)
    assert means.shape == (4000, 3) and means.mean(0) == pytest.approx(right.mean((1, 2)), abs=0.005)
    of_images = right.mean(1).var(1) / 50
    assert (means.var(0) > of_images).all()                          # seeds add their part


def test_bootstrap_means_of_replicates_vary_as_much_as_their_mean_does():
    """The referee's example: ten replicates drawn ten times give a variance that is a tenth too small."""
    accuracy = np.random.default_rng(2).random(5)
    right = np.broadcast_to(accuracy[:, None], (5, 8))[None]         # all images alike: replicates alone
    assert dose.resampled(right, 20000, seed=0).var() == pytest.approx(accuracy.var(ddof=1) / 5, rel=0.05)


def test_of_replicates_only_tested_images_count():
    right = np.random.default_rng(1).random((2, 3, 60))
    right[:, 0, :30] = right[:, 1, 45:] = np.nan
    assert dose.resampled(right, 6000, seed=0).mean(0) == pytest.approx(np.nanmean(right, 2).mean(1), abs=0.01)


def test_the_table_has_a_row_for_each_point_of_each_curve():
    p, labels = predictions(AT)
    table = dose.table(CURVES, p, labels)
    assert table["curve"].tolist() == ["without"] * 2 + ["only"] * 3 and table["n"].tolist() == [4] * 5
    row = table.iloc[0]
    assert row["accuracy"] == pytest.approx(100 * (p[Point(0.1, 0, 0)] == 0).mean()) and row["low"] < row["accuracy"] < row["high"]


def test_the_best_share_is_that_of_the_best_validation_accuracy():
    curves = planned()
    fits = {point: fitted(*[50 + 10 * (point.share == 0.5)] * 2) for point in dose.points(curves)}
    assert dose.best_share(curves, fits) == 0.5
    fits = {point: fitted(50, 50 + 0.1 * point.share) for point in dose.points(curves)}
    assert dose.best_share(curves, fits) == 0                                          # near a tie the smaller
