"""Is a difference between two arms of a study real? One interval, one p-value, one smallest detectable effect.

A study repeats several things at once: generators, seeds of the classifier, test images; or whole replicates. Every
measured accuracy hangs on all of them, so the variance V of the mean is a sum with a part for each. With `outcomes` the
table of everything that was measured, and its means over all axes but the k-th (n_k of them):

    V_k = var(means_k, ddof=1) / n_k        V = sum of V_k        df = V^2 / sum of V_k^2 / (n_k - 1)
    interval = mean +- t(.975, df) sqrt(V)      p = 2 P(t_df > |mean| / sqrt(V))
    detectable = (t(.975, df) + t(.8, df)) sqrt(V), the smallest true effect that is found with 80 % power

Estimand: the mean over all generators, seeds and test images like those drawn. Assumed: each thing was drawn
independently of the others and acts on the outcome in about the same way whatever the others are. The parts share some
of the noise, so V is a little too large: the interval covers the truth in 93 to 98 % of studies simulated with crossed
effects (tests/study/test_statistics.py). df are Satterthwaite's (1946); they are too many where one part with a single
degree of freedom outweighs all others: of two generators that differ by 5 points only 87 % are covered, so repeat more.
What was not repeated has no part: with a single generator an interval speaks of that generator and of no other.
"""
import math

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import confusion_matrix
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from lib.study.results import Estimate

CROSSED = ("generators", "seeds", "test images")
REPLICATED = ("replicates", "test images")


# ---------------------------------------------------------------- the interval
def estimate(outcomes, unit="points"):
    """Estimate of the mean of `outcomes`, (replicates R, generators G, seeds S, images N).

    outcomes: 100 * (right in one arm - right in the other), in points, or 100 * right in percent (unit "%"); NaN where
    a replicate did not test that image. Of several replicates n is R: each is one complete repetition, with a data
    split, generator, sampling noise and classifier seed of its own. Of one it is the number of networks, G S, and the
    interval covers another generator (if G > 1), another seed (if S > 1) and other test images.
    """
    repeated, _ = axes(outcomes)
    n, of = (len(outcomes), "replicates") if len(outcomes) > 1 else (repeated[..., 0].size, "networks")
    parts = variance_parts(outcomes)
    return t_estimate(np.nanmean(repeated), parts["variance"], parts["n"] - 1, n, of, unit)


def axes(outcomes):
    """What was repeated independently: (table with an axis for each, their names)."""
    if len(outcomes) == 1:
        return outcomes[0], CROSSED
    of_replicates = outcomes.mean((1, 2))
    return of_replicates[:, ~np.isnan(of_replicates).all(0)], REPLICATED


def t_estimate(value, variances, dfs, n, of, unit):
    """The Estimate of a mean whose variance is the sum of independently estimated `variances`; see the formulas above.

    A share in percent ends at 0 and 100 and has no p-value. Without any spread the interval is the value.
    """
    variances, dfs, value = np.asarray(variances, float), np.asarray(dfs, float), float(value)
    error = variances.sum()**0.5
    df = float(error**4 / (variances**2 / dfs).sum() if error else dfs.min())
    half = float(stats.t.ppf(0.975, df) * error)
    if unit == "%":
        return Estimate(value, max(0.0, value - half), min(100.0, value + half), n, of, unit, df=df)
    p = float(2 * stats.t.sf(abs(value) / error, df) if error else value == 0)
    return Estimate(value, value - half, value + half, n, of, unit, p=p, df=df)


def variance_parts(outcomes):
    """What V is made of: a DataFrame with a row for each thing that was repeated: n_k, and V_k as `variance`."""
    table, names = axes(outcomes)
    means = {name: np.nanmean(table, axis=tuple(a for a in range(table.ndim) if a != k))
             for k, name in enumerate(names)}
    return pd.DataFrame({name: {"n": len(m), "variance": m.var(ddof=1) / len(m)} for name, m in means.items()
                         if len(m) > 1}).T.astype({"n": int})


def standard_error(estimate):
    """sqrt(V) of an Estimate with degrees of freedom. (The wider side: the other may end at 0 or 100 %.)"""
    return max(estimate.value - estimate.low, estimate.high - estimate.value) / float(stats.t.ppf(0.975, estimate.df))


def detectable(estimate, power=0.8):
    """Smallest true effect that a test with this estimate's variance finds at 5 % with `power`; in its unit."""
    return standard_error(estimate) * float(stats.t.ppf(0.975, estimate.df) + stats.t.ppf(power, estimate.df))


def repetitions_for_half(variance):
    """How many repetitions would find half of the smallest gain that a study finds now; None where test images alone
    are too few. variance: of `variance_parts`, with a row for each thing that was repeated."""
    own, n = (variance.loc["replicates", name] if "replicates" in variance.index else None
              for name in ("variance", "n"))
    if own is None:
        return None
    target = variance["variance"].sum() / 4 - (variance["variance"].sum() - own)
    return math.ceil(own * n / target) if target > 0 else None


def equivalence(estimate, margin):
    """p-value of two one-sided tests (Schuirmann 1987): below 0.05 the effect lies within +-margin, in words "none".

    The margin is fixed before anything is measured.
    """
    error = standard_error(estimate)
    if error == 0:
        return float(abs(estimate.value) >= margin)
    return float(stats.t.sf((margin - abs(estimate.value)) / error, estimate.df))


def difference(a, b):
    """a - b of two independent Estimates, in points; where they share test images, the interval is a little wide."""
    return t_estimate(a.value - b.value, [standard_error(a)**2, standard_error(b)**2], [a.df, b.df], min(a.n, b.n),
                      a.of, "points")


def paired(a, b):
    """mean(b - a) over replicates that a and b share, in points. a, b: (R,), in percent, of the same replicates."""
    d = np.asarray(b) - np.asarray(a)
    return t_estimate(d.mean(), [d.var(ddof=1) / len(d)], [len(d) - 1], len(d), "replicates", "points")


def welch(a, b, of="networks"):
    """mean(b) - mean(a) of two independent groups, each of any spread, in points (Welch 1947); n: the smaller group."""
    parts = [(np.var(group, ddof=1) / len(group), len(group) - 1) for group in (a, b)]
    return t_estimate(np.mean(b) - np.mean(a), *zip(*parts, strict=True), min(len(a), len(b)), of, "points")


def holm(p_values):
    """Holm's correction for a family of tests; in the order given. (n,)"""
    return multipletests(p_values, method="holm")[1] if len(p_values) else np.empty(0)


# ---------------------------------------------------------------- which cells of a confusion matrix changed
def mcnemar(right_a, right_b):
    """p-values (seeds,) of the exact McNemar test of each seed. right: bool (seeds, N), whether each seed's classifier
    is right on each test image.

    The binomial test of the images on which just one of the two classifiers is right (McNemar 1947): it speaks of the
    two networks, not of the arms that they come from, so it describes and decides nothing here.
    """
    only_a, only_b = (right_a & ~right_b).sum(-1), (~right_a & right_b).sum(-1)
    p = [statsmodels_mcnemar([[0, a], [b, 0]], exact=True).pvalue for a, b in zip(only_a, only_b, strict=True)]
    return np.minimum(p, 1.0)


def combined(p_values):
    """One p-value of several tests of one hypothesis, however they depend on each other: twice their median, at most 1.

    Rüger 1978; the seeds share their test images, so they are not independent and can't be pooled.
    """
    return min(1.0, 2 * float(np.median(p_values)))


def changed_cells(predictions_a, predictions_b, labels, num_classes):
    """p-values after Holm, (K, K), that the share of class i's images called j differs between two arms.

    predictions: (seeds, N). In each cell an exact McNemar test for each seed, twice their median; Holm over all cells.
    """
    p = np.ones((num_classes, num_classes))
    for i in range(num_classes):
        a, b = predictions_a[:, labels == i], predictions_b[:, labels == i]
        for j in range(num_classes):
            p[i, j] = combined(mcnemar(a == j, b == j))
    return holm(p.ravel()).reshape(p.shape)


# ---------------------------------------------------------------- accuracies and shares
def accuracy(predictions, labels):
    """Share of right predictions in percent. predictions (..., N), labels (N,) -> (...)"""
    return 100 * (np.asarray(predictions) == np.asarray(labels)).mean(-1)


def confusion(predictions, labels, num_classes):
    """Row-normalised confusion matrix in percent, averaged over the members. predictions (M, N) -> (K, K)

    Row: true class; column: predicted class; each row sums to 100.
    """
    matrices = [confusion_matrix(labels, p, labels=range(num_classes), normalize="true") for p in predictions]
    return 100 * np.mean(matrices, 0)


def proportion_interval(percent, n, level=0.95):
    """Wilson's interval (low, high) of a share of n independent images; all in percent."""
    low, high = stats.binomtest(round(percent * n / 100), n).proportion_ci(level, method="wilson")
    return 100 * low, 100 * high


def difference_of_proportions(a, b, level=0.95):
    """Difference of two shares, each (percent, n), with Newcombe's interval: (difference, low, high) in points."""
    (p, n), (q, m) = a, b
    (p_low, p_high), (q_low, q_high) = proportion_interval(p, n, level), proportion_interval(q, m, level)
    return p - q, p - q - np.hypot(p - p_low, q_high - q), p - q + np.hypot(p_high - p, q - q_low)
