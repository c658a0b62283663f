"""How many synthetic images is a real one worth? One dose at a time, everything at the same number of steps.

What comes out is exploratory: the doses were not fixed before anything was seen. In a study of replicates each has its
own generator, its own subset of its own real images and its own seed; on one split there is a single subset of the real
images, and the intervals cover seeds and test images only.
"""
import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.isotonic import isotonic_regression

from lib import InputError
from lib.data.images import join, select
from lib.study import arms, fitting, statistics
from lib.study.results import Estimate, Exchange


def pools(parts, splits):
    """The synthetic images that doses are taken from: a list with the Images of each split.

    parts: Images of each generator; splits: data_seed of each. Generators of one split take turns, image by image, so
    that every dose holds as many of each.
    """
    return [in_turns([part for part, own in zip(parts, splits, strict=True) if own == split])
            for split in sorted(set(splits))]


def in_turns(parts):
    """The first image of each of several Images, then the second of each, and so on."""
    place = torch.cat([torch.arange(len(part)) for part in parts])
    return select(functools.reduce(join, parts), place.argsort(stable=True))


class Point(NamedTuple):
    """A dose: the fraction of the real images, synthetic images of each class, and their share of a batch."""

    fraction: float
    count: int
    share: float


def plan(train, synthetic, *, ratios, shares, real_fractions, synthetic_fraction):
    """{curve: [(x, Point)]} of the five curves: "ratio" (x: synthetic images for each real one), "share" (of a batch),
    "without" and "with" all synthetic images (x: real images), "only" synthetic ones (x: their number).

    train, synthetic: lists with the Images of each replicate, the latter as many of each class. InputError for a ratio
    that there are no images for, or that is less than one of each class.
    """
    if any(len(set(arms.counted(one).tolist())) > 1 for one in synthetic):
        raise InputError("generate_runs: expected as many synthetic images of each class")
    train, synthetic = train[0], synthetic[0]
    most, classes = len(synthetic) / len(train), len(train.classes)
    each = len(synthetic) // classes
    if max(ratios) > most + 1e-9:
        raise InputError(f"ratios={ratios}: expected at most {most:g}, {len(synthetic):,} synthetic for {len(train):,} "
                         "real images; raise images_per_class or name more runs")
    counts = [round(ratio / most * each) for ratio in ratios]
    if any(ratio and not count for ratio, count in zip(ratios, counts, strict=True)):
        raise InputError(f"ratios={ratios}: expected 0, or at least {most / each:.2g}, one synthetic image of each "
                         "class")
    real = [len(arms.first_of_each_class(train, float(fraction))) for fraction in real_fractions]
    curves = {
        "ratio": [(ratio, (1, count, synthetic_fraction)) for ratio, count in zip(ratios, counts, strict=True)],
        "share": [(share, (1, each, share)) for share in shares],
        "without": [(n, (fraction, 0, 0)) for n, fraction in zip(real, real_fractions, strict=True)],
        "with": [(n, (fraction, each, synthetic_fraction)) for n, fraction in zip(real, real_fractions, strict=True)],
        "only": [(count * classes, (1, count, 1)) for ratio, count in zip(ratios, counts, strict=True) if ratio],
    }
    return {curve: [(x, point(*dose)) for x, dose in doses] for curve, doses in curves.items()}


def point(fraction, count, share):
    """The Point; without synthetic images in the batch there is one for each fraction of the real ones."""
    return Point(float(fraction), count, share) if count and share else Point(float(fraction), 0, 0)


def points(curves):
    """All doses of `plan`, each once."""
    return list(dict.fromkeys(dose for doses in curves.values() for _, dose in doses))


def mix(dose, train, synthetic, recipe):
    """(Mix, Recipe) of a Point: the first images of each class, so that a larger dose holds a smaller one.

    train, synthetic: lists with the Images of each replicate.
    """
    real = [arms.first_of_each_class(images, float(dose.fraction)) for images in train]
    extra = [arms.first_of_each_class(images, dose.count) for images in synthetic]
    recipe = dataclasses.replace(recipe, synthetic_fraction=dose.share)
    if not dose.count:
        return arms.mix(real), recipe
    return arms.mix(extra) if dose.share == 1 else arms.mix(real, [extra]), recipe


def best_share(curves, fits):
    """The share of a batch that is best on validation images, by `fitting.preferred`. fits: {Point: Fit}"""
    doses = sorted((dose for _, dose in curves["share"]), key=lambda dose: dose.share)
    return float(fitting.preferred({dose: fits[dose] for dose in doses}).share)


# ---------------------------------------------------------------- what came out
def table(curves, predictions, labels):
    """A row for each point of each curve: curve, x, accuracy, low, high (percent), n seeds or replicates.

    predictions: {Point: (replicates, 1, seeds, N)}; labels (N,). low, high: NaN without an interval.
    """
    rows = []
    for curve, doses in curves.items():
        for x, dose in doses:
            e = statistics.estimate(statistics.right(predictions[dose], labels), "%")
            low, high = (np.nan if end is None else end for end in (e.low, e.high))
            rows.append((curve, float(x), e.value, low, high, e.n))
    return pd.DataFrame(rows, columns=["curve", "x", "accuracy", "low", "high", "n"])


def exchange(curves, predictions, labels, draws=1000, seed=0):
    """For each number of synthetic images alone, how many real ones alone do as well: a tuple of Exchanges.

    Read off the curve of real images (`real_images_equal_to`). The interval holds the middle 95 % of `draws` bootstrap
    samples of replicates (or seeds) and test images, the same for all doses; a draw above the curve counts as its last
    number. Without replicates it does not cover another generator or another subset of real images.
    """
    without, only = ([dose for _, dose in curves[name]] for name in ("without", "only"))
    counts = [n for n, _ in curves["without"]]
    right = np.stack([statistics.right(predictions[dose], labels).reshape(-1, len(labels)) for dose in without + only])
    of = "replicates" if len(predictions[without[0]]) > 1 else "seeds"                              # (doses, of, N)
    means, sampled, rates = np.nanmean(right, 2).mean(1), resampled(right, draws, seed), []
    for k, (synthetic, dose) in enumerate(curves["only"], start=len(without)):
        equal = [real_images_equal_to(a[k], counts, a[:len(without)]) for a in [means, *sampled]]
        accuracy = statistics.estimate(statistics.right(predictions[dose], labels), "%")
        if np.isinf(equal[0]):
            rates.append(Exchange(synthetic, accuracy, None, None))
            continue
        ends = np.minimum(np.quantile(equal[1:], [0.025, 0.975], method="nearest"), counts[-1]).tolist()
        ends = ends if accuracy.low is not None else []                 # too few replicates, or no spread
        rates.append(Exchange(
            synthetic, accuracy, Estimate(equal[0], *(ends or (None, None)), right.shape[1], of, "images"),
            Estimate(synthetic / equal[0], *([synthetic / end for end in ends[::-1]] or (None, None)), right.shape[1],
                     of)))
    return tuple(rates)


def resampled(right, draws, seed):
    """Mean accuracies of bootstrap samples of seeds (or replicates) and of images. (doses, seeds, N) -> (draws, doses)

    A sample has one seed (or replicate) less than there are, so that the variance of its mean is not too small (Rao &
    Wu 1988). NaN: an image that is no test image of a replicate.
    """
    rng, (_, seeds, n) = np.random.default_rng(seed), right.shape
    of_images = rng.multinomial(n, np.full(n, 1 / n), draws) / n
    less = max(1, seeds - 1)
    of_seeds = rng.multinomial(less, np.full(seeds, 1 / seeds), draws) / less
    means = np.nan_to_num(right) @ of_images.T / (~np.isnan(right[0]) @ of_images.T)        # (doses, seeds, draws)
    return np.einsum("bs,dsb->bd", of_seeds, means)


def real_images_equal_to(accuracy, counts, accuracies):
    """How many real images alone reach `accuracy`: read off the curve of (counts, accuracies), straight in log count.

    The curve is first made to rise by isotonic regression. inf above its last point: no number that was tried is
    enough; the first of `counts` below its first. counts rise.
    """
    rising = isotonic_regression(accuracies)
    if accuracy > rising[-1]:
        return float("inf")
    if accuracy <= rising[0]:
        return float(counts[0])
    k = int(np.searchsorted(rising, accuracy))
    part = (accuracy - rising[k - 1]) / (rising[k] - rising[k - 1])
    return float(counts[k - 1] * (counts[k] / counts[k - 1]) ** part)
