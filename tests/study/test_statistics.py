"""The tests' tests: simulated studies whose truth is known, and formulas beside other people's."""
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.weightstats import ttost_ind

from lib.study import statistics as sig
from lib.study.results import Estimate


# ---------------------------------------------------------------- simulated studies
def study(rng, generators, seeds, images, gain=0.0, generator_sd=0.08):
    """(outcomes (1, G, S, N) in points, their true mean): real images against real and synthetic ones, by a probit.

    An image is as hard for both arms, and a little harder or easier with synthetic images, by the generator; seeds and
    generators shift all images; the rest is each network's own. `gain` moves the second arm. The truth of a single
    generator is that generator's.
    """
    z = rng.standard_normal
    hard, seed, generator = 1.2 * z((1, 1, images)), 0.05 * z((1, seeds, 1)), generator_sd * z((generators, 1, 1))
    real = 1.0 + hard + seed + 0.5 * z((1, seeds, images))
    mixed = (1.0 + gain + hard + seed + generator + 0.3 * z((1, 1, images)) + 0.2 * z((generators, 1, images))
             + 0.03 * z((generators, seeds, 1)) + 0.5 * z((generators, seeds, images)))
    shared = 1.2**2 + 0.05**2 + 0.5**2
    more = 0.3**2 + 0.2**2 + 0.03**2
    mean, more = (1.0 + gain + generator[0, 0, 0], more) if generators == 1 else (1.0 + gain, more + generator_sd**2)
    truth = 100 * (stats.norm.cdf(mean / (shared + more)**0.5) - stats.norm.cdf(1.0 / shared**0.5))
    return 100 * ((mixed > 0) * 1.0 - (real > 0))[None], truth


def replicated(rng, count, pool=600, gain=0.0, replicate_sd=0.13, part=0.5):
    """(outcomes (R, 1, 1, N) with NaN, truth): each replicate tests a `part` of the images with its own networks."""
    z = rng.standard_normal
    hard, turn = 1.2 * z(pool), 0.3 * z(pool)
    real = 1.0 + hard + 0.1 * z((count, 1)) + 0.5 * z((count, pool))
    mixed = 1.0 + gain + hard + turn + replicate_sd * z((count, 1)) + 0.5 * z((count, pool))
    variances = 1.2**2 + 0.1**2 + 0.5**2, 1.2**2 + 0.3**2 + replicate_sd**2 + 0.5**2
    truth = 100 * (stats.norm.cdf((1.0 + gain) / variances[1]**0.5) - stats.norm.cdf(1.0 / variances[0]**0.5))
    tested = rng.permuted(np.tile(np.arange(pool) < pool * part, (count, 1)), axis=1)
    return np.where(tested, 100 * ((mixed > 0) * 1.0 - (real > 0)), np.nan)[:, None, None], truth


def covered(draw, draws):
    """The share of `draws` simulated studies whose interval holds the truth."""
    hits = 0
    for _ in range(draws):
        outcomes, truth = draw()
        e = sig.estimate(outcomes)
        hits += e.low <= truth <= e.high
    return hits / draws


def test_the_interval_of_a_crossed_study_covers_the_truth():
    rng = np.random.default_rng(0)
    assert covered(lambda: study(rng, 2, 5, 300), 1000) >= 0.93


def test_the_interval_over_replicates_covers_the_truth():
    rng = np.random.default_rng(1)
    assert covered(lambda: replicated(rng, 5), 1500) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("generators, seeds, generator_sd", [(1, 5, 0.08), (2, 3, 0.03), (2, 5, 0.08), (5, 5, 0.3), (10, 3, 0.3)])
def test_the_crossed_interval_covers_the_truth_for_few_and_for_many(generators, seeds, generator_sd):
    """0.08 is 1.5 points between generators, 0.3 is 5.5. (With two generators that differ so much 87 % are covered.)"""
    rng = np.random.default_rng(2)
    assert covered(lambda: study(rng, generators, seeds, 300, 0.1, generator_sd), 600) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 5, 10, 20])
@pytest.mark.parametrize("part", [0.5, 1.0])
@pytest.mark.parametrize("replicate_sd", [0.1, 0.13, 0.3])
def test_the_interval_over_replicates_covers_the_truth_for_few_and_for_many(count, part, replicate_sd):
    """With an sd of 0.3 replicates differ by 5 points, with one of 0.1 hardly. 800 draws: the share is known to 0.9 points."""
    rng = np.random.default_rng((3, count))
    assert covered(lambda: replicated(rng, count, 600, 0.1, replicate_sd, part), 800) >= 0.92


def test_the_interval_over_replicates_is_narrower_than_if_the_residual_counted_twice():
    rng, widths = np.random.default_rng(15), []
    for _ in range(30):
        parts = sig.variance_parts(replicated(rng, 10, part=1.0, replicate_sd=0.1)[0])
        widths.append((parts["variance"].sum() / parts["mean square"].iloc[:2].sum())**0.5)
    assert 0.7 < np.mean(widths) < 0.95


@pytest.mark.parametrize("crossed, draw", [
    (True, lambda rng, gain: study(rng, 2, 5, 300, gain)), (False, lambda rng, gain: replicated(rng, 10, gain=gain))])
def test_where_nothing_is_to_be_found_a_verdict_is_given_in_at_most_6_percent(crossed, draw):
    rng, gain, false = np.random.default_rng(4), null_gain(crossed), 0
    for _ in range(1500):
        outcomes, truth = draw(rng, gain)
        assert truth == pytest.approx(0, abs=1e-6)
        false += sig.estimate(outcomes).clear
    assert false / 1500 <= 0.06                                         # known to 0.6 points


def null_gain(crossed):
    """The gain that makes both arms equally good: more spread alone would lower the second arm's accuracy."""
    shared = 1.2**2 + 0.5**2 + (0.05**2 if crossed else 0.1**2)
    mixed = (shared + 0.3**2 + 0.2**2 + 0.03**2 + 0.08**2 if crossed else
             1.2**2 + 0.3**2 + 0.13**2 + 0.5**2)
    return (mixed / shared)**0.5 - 1


def test_the_detectable_effect_is_found_in_80_percent():
    rng, found, sizes = np.random.default_rng(5), 0, []
    for _ in range(800):
        outcomes, truth = replicated(rng, 10, gain=0.225)
        e = sig.estimate(outcomes)
        found += e.above_zero
        sizes.append(sig.detectable(e))
    assert np.mean(sizes) == pytest.approx(truth, rel=0.05)             # the truth is as large as what is detectable
    assert 0.75 <= found / 800 <= 0.87                                  # known to 1.4 points


# ---------------------------------------------------------------- formulas
def test_variance_and_degrees_are_those_of_the_protocol():
    rng = np.random.default_rng(6)
    D = rng.normal(2, 30, (3, 4, 50)) + rng.normal(0, 2, (3, 1, 1))
    parts = [D.mean((1, 2)).var(ddof=1) / 3, D.mean((0, 2)).var(ddof=1) / 4, D.mean((0, 1)).var(ddof=1) / 50]
    V = sum(parts)
    df = V**2 / sum(v**2 / n for v, n in zip(parts, (2, 3, 49), strict=True))
    e = sig.estimate(D[None])
    assert (e.value, e.df, e.n, e.of) == (pytest.approx(D.mean()), pytest.approx(df), 12, "networks")
    assert (e.low, e.high) == pytest.approx(stats.t.interval(0.95, df, D.mean(), V**0.5))
    assert e.p == pytest.approx(2 * stats.t.sf(abs(D.mean()) / V**0.5, df))
    assert sig.variance_parts(D[None])["variance"].tolist() == pytest.approx(parts)


def test_where_no_image_is_tested_twice_the_interval_is_students():
    values = np.random.default_rng(7).normal(1, 2, (12, 3))
    outcomes = np.full((12, 36), np.nan)
    for r in range(12):
        outcomes[r, 3 * r:3 * r + 3] = values[r]
    e = sig.estimate(outcomes[:, None, None])
    assert (sig.standard_error(e), e.df) == (pytest.approx(stats.sem(values.mean(1))), 11)


def test_of_replicates_that_test_the_same_images_the_variance_is_the_two_way_analysis_of_variance():
    """V = (MS_replicates + MS_images - MS_residual) / (R N), with the mean squares of statsmodels."""
    rng = np.random.default_rng(12)
    y = 5 + 2 * rng.standard_normal((6, 1)) + 3 * rng.standard_normal((1, 40)) + 4 * rng.standard_normal((6, 40))
    table = pd.DataFrame(y).stack().rename_axis(["r", "i"]).rename("y").reset_index()
    squares = anova_lm(ols("y ~ C(r) + C(i)", table).fit())["mean_sq"]
    V = (squares["C(r)"] + squares["C(i)"] - squares["Residual"]) / 240
    e = sig.estimate(y[:, None, None])
    assert sig.standard_error(e) == pytest.approx(V**0.5) and e.value == pytest.approx(y.mean())
    assert sig.variance_parts(y[:, None, None])["variance"].sum() == pytest.approx(V)


def test_the_variance_is_never_below_the_larger_of_its_two_parts():
    rng = np.random.default_rng(13)
    for _ in range(50):
        y = rng.standard_normal((4, 1, 1, 9))
        parts = sig.variance_parts(y)
        assert parts["variance"].sum() >= parts["mean square"].iloc[:2].max() - 1e-12


def test_the_value_is_the_mean_of_the_replicates_however_many_images_each_tested():
    """The referee's example: differences of 100, 0 and 0 points on 10, 100 and 100 images are 33.3, not 4.8."""
    outcomes = np.full((3, 210), np.nan)
    outcomes[0, :10], outcomes[1, 10:110], outcomes[2, 110:] = 100, 0, 0
    assert sig.estimate(outcomes[:, None, None]).value == pytest.approx(100 / 3)


def test_a_lucky_spread_of_few_replicates_gives_no_many_degrees_of_freedom():
    """The referee's example: two replicates with nearly the same gain had df = 1340 and p = 3e-38."""
    rng = np.random.default_rng(14)
    outcomes = np.where(rng.random((3, 1, 1, 1000)) < 0.1, 100.0, 0.0)
    outcomes[:] = np.sort(outcomes, axis=-1)
    outcomes[..., :900] = 0
    three = sig.estimate(outcomes + rng.permuted(np.tile(np.repeat([0, 100.0], [950, 50]), (3, 1)), axis=1)[:, None, None])
    assert three.df <= 2 and three.n == 3
    two = sig.estimate(outcomes[:2])
    assert (two.low, two.high, two.p, two.df, two.clear) == (None, None, None, None, False) and two.n == 2
    assert sig.detectable(two) is None and sig.equivalence(two, 0.5) is None and sig.standard_error(two) is None


def test_images_that_no_replicate_tested_count_for_nothing():
    D, _ = replicated(np.random.default_rng(8), 5)
    assert sig.estimate(np.concatenate([D, np.full((5, 1, 1, 9), np.nan)], -1)) == sig.estimate(D)


def test_a_single_generator_has_no_part_in_the_variance():
    D, _ = study(np.random.default_rng(9), 1, 5, 100)
    assert list(sig.variance_parts(D).index) == ["seeds", "test images"] and sig.estimate(D).n == 5


def test_p_is_below_5_percent_exactly_where_the_interval_leaves_out_0():
    rng = np.random.default_rng(10)
    estimates = [sig.estimate(study(rng, 2, 5, 100, gain)[0]) for gain in np.linspace(0, 0.5, 30)]
    assert {(e.p < 0.05) for e in estimates} == {True, False}
    assert all((e.p < 0.05) == e.clear for e in estimates)


@pytest.mark.parametrize("outcomes", [np.zeros((1, 2, 3, 10)), np.full((5, 1, 1, 10), -100.0), np.full((1, 1, 5, 10), 100.0)])
def test_without_any_spread_there_is_no_interval_and_no_p(outcomes):
    """The referee's example: five small tests without spread gave +0.3 points (+0.3 to +0.3), p = 0."""
    e = sig.estimate(outcomes)
    assert (e.value, e.low, e.high, e.p) == (outcomes.flat[0], None, None, None) and not e.clear
    assert sig.estimate(outcomes, "%").interval == "" and sig.detectable(e) is None


def test_the_interval_of_a_share_ends_at_0_and_100_percent():
    right = np.ones((1, 1, 2, 20))
    right[0, 0, 0, 0] = 0
    e = sig.estimate(100 * right, "%")
    assert e.high == 100 and e.low > 80 and e.p is None


def test_the_difference_of_two_groups_is_welchs():
    a, b = [1.0, 2, 4, 4, 7], [5.0, 6, 6, 9, 9, 9]
    e, test = sig.welch(a, b), stats.ttest_ind(b, a, equal_var=False)
    assert (e.low, e.high) == pytest.approx(test.confidence_interval()) and e.p == pytest.approx(test.pvalue)
    assert (e.value, e.n) == (pytest.approx(np.mean(b) - np.mean(a)), 5)


def test_the_difference_of_two_estimates_adds_their_variances():
    a, b = (sig.t_estimate(value, [v], [9], 10, "networks", "%") for value, v in ((60, 0.09), (50, 0.16)))
    e = sig.difference(a, b)
    assert (e.value, sig.standard_error(e), e.df) == pytest.approx((10, 0.5, 0.25**2 / (0.09**2 / 9 + 0.16**2 / 9)))


def test_equivalence_is_schuirmanns_two_one_sided_tests():
    rng = np.random.default_rng(11)
    a, b = rng.normal(0, 1, 30), rng.normal(0.2, 1.3, 25)
    expected = ttost_ind(b, a, -1, 1, usevar="unequal")[0]
    assert sig.equivalence(sig.welch(a, b), 1) == pytest.approx(expected)


def test_an_effect_as_large_as_the_margin_is_not_called_none():
    assert sig.equivalence(Estimate(0.6, 0.5, 0.7, df=9), margin=0.5) > 0.5


def test_holm_multiplies_the_smallest_by_their_number():
    assert sig.holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])       # 3 x, 1 x lifted, 2 x
    assert sig.holm([]).tolist() == []
    assert sig.holm([0.01, None]).tolist() == pytest.approx([0.02, 1])                        # asked or not, a family of two


# ---------------------------------------------------------------- cells of a confusion matrix
def test_mcnemar_is_the_binomial_test_of_the_discordant_images():
    a = np.array([[1, 1, 1, 1, 1, 1, 1, 0, 0, 1]], bool)
    b = np.array([[0, 0, 0, 0, 0, 0, 1, 1, 0, 1]], bool)
    assert sig.mcnemar(a, b)[0] == pytest.approx(stats.binomtest(6, 7).pvalue) and sig.mcnemar(a, a)[0] == 1


def test_a_planted_confusion_is_found_in_its_cell_and_a_null_is_not():
    rng, labels = np.random.default_rng(5), np.repeat(np.arange(4), 250)
    a, null = (np.where(rng.random((5, 1000)) < 0.8, labels, rng.integers(4, size=(5, 1000))) for _ in range(2))
    assert sig.changed_cells(a, null, labels, 4).min() > 0.05
    b = np.where((labels == 2) & (rng.random((5, 1000)) < 0.2), 0, null)
    p = sig.changed_cells(a, b, labels, 4)
    assert p[2, 0] < 0.01 and p[2, 2] < 0.01
    assert np.delete(p.ravel(), [8, 10]).min() > 0.05


def test_confusion_rows_are_true_classes_and_sum_to_100():
    m = sig.confusion(np.array([[0, 1, 1, 1], [0, 0, 1, 1]]), np.array([0, 0, 1, 1]), 2)
    assert m.tolist() == [[75.0, 25.0], [0.0, 100.0]]


# ---------------------------------------------------------------- means and shares
def test_accuracy_is_a_percentage_for_each_seed():
    assert sig.accuracy(np.array([[0, 1, 2, 2], [0, 0, 0, 0]]), [0, 1, 2, 0]).tolist() == [75.0, 50.0]


def test_the_difference_of_two_shares_has_newcombes_interval():
    """Newcombe 1998 (Statistics in Medicine 17, 873), table II, example a, method 10: 56/70 against 48/80."""
    assert sig.difference_of_proportions((80, 70), (60, 80)) == pytest.approx((20, 5.24, 33.39), abs=0.01)


def test_a_share_of_all_or_none_still_has_an_interval():
    assert sig.proportion_interval(100, 200) == pytest.approx((100 * 200 / (200 + 1.96**2), 100), abs=0.01)
    assert sig.proportion_interval(0, 200)[0] == 0


def test_repetitions_that_find_half_count_what_falls_with_their_number():
    variance = pd.DataFrame({"n": [5, 400, 2000], "variance": [3.0, 0.5, 0.5]}, index=["replicates", "test images", "residual"])
    assert sig.repetitions_for_half(variance) == 35                           # 3.5 * 5 / 35 + 0.5 = 4.0 / 4
    assert sig.repetitions_for_half(variance.replace(0.5, 5.0)) is None
