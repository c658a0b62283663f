"""Is a difference between two arms of a study real? One interval, one p-value, one smallest detectable effect.

A study of R replicates measures outcomes y[r, i], of replicate r on test image i; not every replicate tests each image.
With their means y[r, .] and y[., i] over what was tested, n cells in all, and e the residuals of y after both means:

    value = mean of y[r, .]
    V_R = var(y[r, .], ddof=1) / R      V_I = var(y[., i], ddof=1) / N      V_E = sum e^2 / (n - R - N + 1) / n
    V  = max(V_R - V_E, 0) + max(V_I - V_E, 0) + V_E
    df = V^2 / (V_R^2 / (R-1) + V_I^2 / (N-1) + V_E^2 / (n - R - N + 1)), at most R-1 if R < 5
    interval = value +- t(.975, df) sqrt(V)      p = 2 P(t_df > |value| / sqrt(V))
    detectable = (t(.975, df) + t(.8, df)) sqrt(V), the smallest true effect that is found with 80 % power

This is the two-way analysis of variance with Satterthwaite's (1946) degrees of freedom. V_R and V_I both hold the
residual part, so it is subtracted once. Where no two replicates test the same image, V is V_R, and df are R-1. In
simulated studies (tests/study/test_statistics.py) the interval holds the truth in 93 to 98 % for R >= 5 and in more for
3 or 4. Two replicates have no interval: repeat the experiment at least five times.

A study of one split crosses G generators, S seeds and N images. There V is the sum of the variances of the means over
all other axes, V_k = var(means_k, ddof=1) / n_k, and df = V^2 / sum V_k^2 / (n_k - 1). It is a little too large, as the
parts share the residual: 93 to 98 % of the intervals hold the truth with additive effects, 87 % with two generators
that differ by 5 points. With a single generator an interval speaks of that generator and of no other.

Without any spread there is no interval and no p-value.
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
REPLICATED = ("replicates", "test images", "residual")
ENOUGH = 3      # replicates: an interval of fewer would be a guess
FEW = 5         # replicates: of fewer, a small spread may be luck, so df are at most their number less one


# ---------------------------------------------------------------- the interval
def estimate(outcomes, unit="points"):
    """Estimate of the mean of `outcomes`, (replicates R, generators G, seeds S, images N).

    outcomes: 100 * (right in one arm - right in the other), in points, or 100 * right in percent (unit "%"); NaN where
    a replicate did not test that image. Of several replicates n is R: each is one complete repetition, with a data
    split, generator, sampling noise and classifier seed of its own; the value is the mean of theirs. Of one it is the
    number of networks, G S, and the interval covers another generator (if G > 1), another seed (if S > 1) and other
    test images.
    """
    parts, replicates = variance_parts(outcomes), len(outcomes)
    if replicates == 1:
        n = outcomes.shape[1] * outcomes.shape[2]
        return t_estimate(np.nanmean(outcomes), parts["variance"], parts["n"] - 1, n, "networks", unit)
    value, variance = replicate_means(outcomes).mean(), parts["variance"].sum()
    if replicates < ENOUGH:
        return Estimate(float(value), n=replicates, of="replicates", unit=unit)
    df = float(variance**2 / (parts["mean square"]**2 / parts["df"]).sum()) if variance else 0.0
    if replicates < FEW:
        df = min(df, replicates - 1)
    return student(value, variance, df, replicates, "replicates", unit)


def macro_estimate(outcomes, labels, unit="points"):
    """As `estimate`, of the mean over classes of their means: of outcomes in percent the macro recall (balanced
    accuracy), in which a rare class counts as much as a common one.

    The parts of the variance that come from test images and residuals are taken within each class: with K classes V_I
    and V_E are the sums over classes of their own, divided by K^2. labels: (N,) of the test images.
    """
    of_class = [outcomes[..., labels == k] for k in np.unique(labels)]
    parts, K, replicates = [variance_parts(one) for one in of_class], len(of_class), len(outcomes)
    if replicates == 1:
        means = np.mean([np.nanmean(one, -1, keepdims=True) for one in of_class], 0)[0]       # (generators, seeds, 1)
        rows = [*crossed_parts(means)[["n", "variance"]].to_numpy()] if means.size > 1 else []
        rows += [(n, v / K**2) for n, v in (part.loc["test images"] for part in parts if "test images" in part.index)]
        n = outcomes.shape[1] * outcomes.shape[2]
        return t_estimate(means.mean(), [v for _, v in rows], [n - 1 for n, _ in rows], n, "networks", unit)
    means = np.mean([replicate_means(one) for one in of_class], 0)                            # (replicates,)
    if replicates < ENOUGH:
        return Estimate(float(means.mean()), n=replicates, of="replicates", unit=unit)
    squares = {name: np.array([part.loc[name, "mean square"] for part in parts]) / K**2 for name in REPLICATED[1:]}
    dfs = {name: np.array([part.loc[name, "df"] for part in parts]) for name in REPLICATED[1:]}
    own, images, rest = means.var(ddof=1) / replicates, squares["test images"], squares["residual"]
    variance = max(own - rest.sum(), 0) + np.maximum(images - rest, 0).sum() + rest.sum()
    spread = own**2 / (replicates - 1) + sum((squares[name]**2 / dfs[name]).sum() for name in squares)
    df = float(variance**2 / spread) if variance else 0.0
    return student(means.mean(), variance, min(df, replicates - 1) if replicates < FEW else df, replicates,
                   "replicates", unit)


def replicate_means(outcomes):
    """The mean of each replicate over its generators, seeds and test images. (R,)"""
    return np.nanmean(outcomes, (1, 2, 3))


def student(value, variance, df, n, of, unit):
    """The Estimate of a mean with a `variance` of so many degrees of freedom.

    A share in percent ends at 0 and 100 and has no p-value. Without any spread there is no interval.
    """
    value, error = float(value), float(variance)**0.5
    if not error:
        return Estimate(value, n=n, of=of, unit=unit)
    half = float(stats.t.ppf(0.975, df) * error)
    if unit == "%":
        return Estimate(value, max(0.0, value - half), min(100.0, value + half), n, of, unit, df=df)
    p = float(2 * stats.t.sf(abs(value) / error, df))
    return Estimate(value, value - half, value + half, n, of, unit, p=p, df=df)


def t_estimate(value, variances, dfs, n, of, unit):
    """The Estimate of a mean whose variance is the sum of independently estimated `variances`, each with its `dfs`."""
    variances, dfs = np.asarray(variances, float), np.asarray(dfs, float)
    total = variances.sum()
    return student(value, total, float(total**2 / (variances**2 / dfs).sum()) if total else 0.0, n, of, unit)


def variance_parts(outcomes):
    """What V is made of: a DataFrame with a row for each thing that was repeated: n of it, and its part as `variance`.

    Of replicates also `mean square` and `df`: V_R, V_I and V_E of the formulas above, from which the parts are made.
    """
    return crossed_parts(outcomes[0]) if len(outcomes) == 1 else replicated_parts(outcomes.mean((1, 2)))


def crossed_parts(table):
    """`variance_parts` of one split. table: (generators, seeds, images)"""
    means = {name: np.nanmean(table, axis=tuple(a for a in range(3) if a != k)) for k, name in enumerate(CROSSED)}
    return pd.DataFrame({name: {"n": len(m), "variance": m.var(ddof=1) / len(m)} for name, m in means.items()
                         if len(m) > 1}).T.astype({"n": int})


def replicated_parts(table):
    """`variance_parts` of replicates. table: (replicates, images), NaN where one did not test an image."""
    table = table[:, ~np.isnan(table).all(0)]
    of_replicates, of_images, cells = np.nanmean(table, 1), np.nanmean(table, 0), int((~np.isnan(table)).sum())
    R, N = table.shape
    squares = {"replicates": of_replicates.var(ddof=1) / R, "test images": of_images.var(ddof=1) / N if N > 1 else 0.0}
    df = cells - R - N + 1
    if df > 0:
        residuals = table - of_replicates[:, None] - of_images + of_replicates.mean()
        squares["residual"] = np.nansum(residuals**2) / df / cells
    else:                                               # no image is tested twice: its part is in the replicates' means
        squares, df = {"replicates": squares["replicates"], "test images": 0.0, "residual": 0.0}, 1
    rest = squares["residual"]
    parts = [max(squares["replicates"] - rest, 0), max(squares["test images"] - rest, 0), rest]
    return pd.DataFrame({"n": [R, N, cells], "variance": parts, "mean square": list(squares.values()),
                         "df": [R - 1, max(N - 1, 1), df]}, list(REPLICATED))


def standard_error(estimate):
    """sqrt(V) of an Estimate with degrees of freedom, None of one without. (The wider side: the other may end at 0 or
    100 %.)"""
    if estimate.df is None:
        return None
    return max(estimate.value - estimate.low, estimate.high - estimate.value) / float(stats.t.ppf(0.975, estimate.df))


def detectable(estimate, power=0.8):
    """Smallest true effect that a test with this estimate's variance finds at 5 % with `power`; in its unit. None
    without an interval."""
    error = standard_error(estimate)
    return error and error * float(stats.t.ppf(0.975, estimate.df) + stats.t.ppf(power, estimate.df))


def repetitions_for_half(variance):
    """How many repetitions would find half of the smallest gain that a study finds now; None where test images alone
    are too few. variance: of `variance_parts`, with a row for each thing that was repeated; the parts of replicates and
    residuals fall with the number of replicates."""
    if "replicates" not in variance.index:
        return None
    of_images = variance["variance"].get("test images", 0)
    own, target = variance["variance"].sum() - of_images, variance["variance"].sum() / 4 - of_images
    return math.ceil(own * variance.loc["replicates", "n"] / target) if target > 0 else None


def equivalence(estimate, margin):
    """p-value of two one-sided tests (Schuirmann 1987): below 0.05 the effect is within +-margin, which counts as none.

    The margin is fixed before anything is measured. None without an interval.
    """
    error = standard_error(estimate)
    return error and float(stats.t.sf((margin - abs(estimate.value)) / error, estimate.df))


def difference(a, b):
    """a - b of two independent Estimates, in points; where they share test images, the interval is a little wide."""
    errors, value, n = (standard_error(a), standard_error(b)), a.value - b.value, min(a.n, b.n)
    if None in errors:
        return Estimate(value, n=n, of=a.of, unit="points")
    return t_estimate(value, [error**2 for error in errors], [a.df, b.df], n, a.of, "points")


def welch(a, b, of="networks"):
    """mean(b) - mean(a) of two independent groups, each of any spread, in points (Welch 1947); n: the smaller group."""
    parts = [(np.var(group, ddof=1) / len(group), len(group) - 1) for group in (a, b)]
    return t_estimate(np.mean(b) - np.mean(a), *zip(*parts, strict=True), min(len(a), len(b)), of, "points")


def holm(p_values):
    """Holm's correction for a family of tests; in the order given. (n,) A missing one, None, counts as p = 1."""
    p_values = [1.0 if p is None else p for p in p_values]
    return multipletests(p_values, method="holm")[1] if p_values else np.empty(0)


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
NOT_TESTED = -1     # in the place of a label that was not predicted


def right(predictions, labels):
    """100 where a prediction is right, else 0: outcomes in percent; NaN for an image that was not tested. (..., N)"""
    return np.where(predictions == NOT_TESTED, np.nan, 100.0 * (predictions == labels))


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
