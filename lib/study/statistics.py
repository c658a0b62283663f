"""Is a difference between two arms of a study real? Paired tests on the same test images, corrected for many arms.

right: bool (seeds, N), whether the classifier of each seed is right on each test image; seed s of two arms starts from
the same weights and sees the images in the same order, so they are pairs.
"""
import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import confusion_matrix
from statsmodels.stats.contingency_tables import cochrans_q as statsmodels_cochrans_q
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests


def mcnemar(right_a, right_b):
    """Exact McNemar test of each seed: (p-values (seeds,), discordant share in percent (seeds,)).

    The binomial test of the images on which just one of the two classifiers is right (McNemar 1947).
    """
    only_a, only_b = (right_a & ~right_b).sum(-1), (~right_a & right_b).sum(-1)
    p = [statsmodels_mcnemar([[0, a], [b, 0]], exact=True).pvalue for a, b in zip(only_a, only_b, strict=True)]
    return np.minimum(p, 1.0), 100 * (only_a + only_b) / right_a.shape[-1]


def combined(p_values):
    """One p-value of several tests of one hypothesis, however they depend on each other: twice their median, at most 1.

    Rüger 1978; the seeds share their test images, so they are not independent and can't be pooled.
    """
    return min(1.0, 2 * float(np.median(p_values)))


def cochrans_q(rights):
    """p-value of Cochran's Q: do all arms have the same accuracy? rights: one (seeds, N) for each arm; twice the median
    over seeds."""
    by_seed = np.stack(rights).swapaxes(0, 1)                                   # (seeds, arms, N)
    same = [len(set(map(bytes, arms))) == 1 for arms in by_seed]                # no image on which they differ
    return combined([1.0 if s else statsmodels_cochrans_q(arms.T.astype(int)).pvalue
                     for s, arms in zip(same, by_seed, strict=True)])


def holm(p_values):
    """Holm's correction for a family of tests; in the order given. (n,)"""
    return multipletests(p_values, method="holm")[1] if len(p_values) else np.empty(0)


def bootstrap_difference(rights_a, rights_b, *, draws=2000, level=0.95, seed=0):
    """Accuracy of b minus that of a in points: (difference, low, high), by a hierarchical bootstrap.

    rights_a, rights_b: bool (generators, seeds, N). Each draw takes generators, within each its seeds, and test images,
    all with replacement, the same for both arms: so the interval covers another generator, another classifier and
    another test set. A level of one (a single generator) can't be resampled: the interval then speaks of that one.
    """
    difference = rights_b.astype(np.float32) - rights_a.astype(np.float32)
    (generators, seeds, n), rng = difference.shape, np.random.default_rng(seed)
    means = np.empty(draws)
    for k in range(draws):
        chosen = rng.integers(generators, size=generators)
        rows = difference[chosen[:, None], rng.integers(seeds, size=(generators, seeds))].mean((0, 1))
        means[k] = 100 * rows[rng.integers(n, size=n)].mean()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(100 * difference.mean()), float(low), float(high)


def detectable_difference(discordance, n, power=0.8, level=0.05):
    """Smallest difference in points that McNemar's test finds with `power`, for n images of which `discordance` percent
    are right in one arm only (Connor 1987, normal approximation)."""
    psi, z_level, z_power = discordance / 100, stats.norm.ppf(1 - level / 2), stats.norm.ppf(power)
    d = 0.0
    for _ in range(50):                                                         # a contraction: converges at once
        d = (z_level * psi**0.5 + z_power * max(psi - d * d, 0) ** 0.5) / n**0.5
    return 100 * d


def changed_cells(predictions_a, predictions_b, labels, num_classes):
    """p-values after Holm, (K, K), that the share of class i's images called j differs between two arms.

    predictions: (seeds, N). In each cell an exact McNemar test for each seed, twice their median; Holm over all cells.
    """
    p = np.ones((num_classes, num_classes))
    for i in range(num_classes):
        a, b = predictions_a[:, labels == i], predictions_b[:, labels == i]
        for j in range(num_classes):
            p[i, j] = combined(mcnemar(a == j, b == j)[0])
    return holm(p.ravel()).reshape(p.shape)


def side_by_side(rows, sigmas=4):
    """What a formula says beside what a simulation gives. rows: (quantity, expected, measured, its standard error).

    A number is inside if it is off by at most `sigmas` standard errors: of the right ones, 1 in 16,000 is not (4).
    Returns a DataFrame with quantity, expected, measured, tolerance, inside ("yes" or "NO").
    """
    table = pd.DataFrame([[row[0], *map(float, row[1:])] for row in rows],
                         columns=["quantity", "expected", "measured", "tolerance"])
    table["tolerance"] *= sigmas
    inside = (table["expected"] - table["measured"]).abs() <= table["tolerance"]
    return table.assign(inside=np.where(inside, "yes", "NO"))


# ---------------------------------------------------------------- accuracies and shares
def accuracy(predictions, labels):
    """Share of right predictions in percent. predictions (..., N), labels (N,) -> (...)"""
    return 100 * (np.asarray(predictions) == np.asarray(labels)).mean(-1)


def mean_interval(values, level=0.95):
    """Mean and half-width of its Student t interval over repeats. values (n,), n >= 2. Units of the values."""
    values = np.asarray(values, float)
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def summarise(name, values):
    """{name, name_sd, name_n} of one value per seed: what metrics.json keeps of an accuracy."""
    values = np.asarray(values, float)
    return {name: float(values.mean()), f"{name}_sd": float(values.std(ddof=1)), f"{name}_n": len(values)}


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
