"""What came out of a study: predictions of test images as accuracies, differences with their intervals, and tables.

predictions: {arm: (replicates, generators, seeds, N)}, real and real + synthetic among them; labels: (N,) of the test
images. An arm in which no generator has a part has one. An image that is no test image of a replicate is NOT_TESTED.
"""
import numpy as np
import pandas as pd

from lib.study import CLASSIFIERS, EQUAL_EPOCHS, MIXED, REAL, arms, fitting, statistics
from lib.study.results import ArmResult, AtOptimum, Contrast, RateChange, Study


def answer(predictions, test, fits, built, recipe, choices, generations, *, setting, generator, filter_share, rates,
           optima=None, margin=0.5, missing=()):
    """The Study: everything that notebook 40 keeps.

    predictions: also of each arm of `optima` by its name in `at_its_optimum`; test: the SealedTest; fits: {arm: Fit};
    built: {arm: Mix}; recipe: of every arm; choices: the Choices; generations: the Generation of
    each generator that was taken; optima: {arm: Optimum}; missing: run folders of the replicates that failed,
    .../NAME.REPLICATE. The rest: fields of the Study.
    """
    best = at_optimum(predictions, test.labels, optima or {})
    predictions = {arm: p for arm, p in predictions.items() if arm in fits}
    labels, rival = test.labels, fitting.best_rival(fits)
    train, synthetic = (part[0] for part in built[MIXED].variants[0])      # of the first replicate
    gain, networks = difference(predictions, labels, MIXED, REAL), predictions[MIXED].shape
    replicates = networks[0] if networks[0] > 1 else 0
    return Study(
        classifier=CLASSIFIERS[recipe.classifier],
        arms=results(predictions, labels, fits, {arm: built[arm].steps or recipe.steps for arm in predictions}),
        gain=gain,
        paper_gain=difference(predictions, labels, MIXED, EQUAL_EPOCHS),
        steps_gain=difference(predictions, labels, REAL, EQUAL_EPOCHS),
        rival=rival, contrasts=contrasts(predictions, labels, rival),
        detectable=statistics.detectable(gain),
        variance=statistics.variance_parts(pointwise(predictions, labels, MIXED, REAL)),
        lr=recipe.lr, setting=setting, generators=networks[0] * networks[1], generator=generator,
        seeds=networks[2], replicates=replicates, planned=planned(replicates, missing),
        margin=margin, equivalence=statistics.equivalence(gain, margin), optimum=best,
        real_images=len(train), synthetic_images=len(synthetic), validation_images=len(choices.validation[0]),
        test_images=len(labels), filter_share=filter_share, rates=rates, choices=choices.table,
        by_class=by_class(predictions, labels, train.classes, [g.by_class for g in generations]),
        confusion=confusion(predictions, labels, train.classes),
        networks=pd.DataFrame({arm: pd.Series(accuracies(p, labels)) for arm, p in predictions.items()}).T)


def planned(replicates, missing):
    """How many replicates the plan asked for: those there are and those that are missing; 0 without replicates."""
    return replicates and replicates + len({folder.rpartition(".")[2] for folder in missing})


# ---------------------------------------------------------------- accuracies
def right(predictions, labels):
    """100 where a prediction is right, else 0: outcomes in percent; NaN for an image that was not tested. (..., N)"""
    return np.where(predictions == arms.NOT_TESTED, np.nan, 100.0 * (predictions == labels))


def accuracies(predictions, labels):
    """Accuracy of each network in percent, in one row. (networks,)"""
    return np.nanmean(right(predictions, labels), -1).ravel()


def results(predictions, labels, fits, steps):
    """A tuple with an ArmResult for each arm. fits: {arm: Fit}; steps: {arm: optimiser steps}."""
    told = []
    for arm, p in predictions.items():
        told.append(ArmResult(
            arm, steps[arm], statistics.estimate(right(p, labels), "%"),
            float(accuracies(p, labels).std(ddof=1)), float(fits[arm].validation.mean()),
            None if arm == REAL else difference(predictions, labels, arm, REAL)))
    return tuple(told)


def pointwise(predictions, labels, arm, against):
    """Points by which each network of `arm` beats the one of `against` of the same replicate and seed, on each image:
    (replicates, generators, seeds, N). A network that no generator has a part in is compared with each generator's."""
    return right(predictions[arm], labels) - right(predictions[against], labels)


def difference(predictions, labels, arm, against):
    """Accuracy of `arm` minus that of `against`: an Estimate over generators, seeds and test images, or replicates and
    test images, in points; None where one of them was not trained."""
    if not {arm, against} <= set(predictions):
        return None
    return statistics.estimate(pointwise(predictions, labels, arm, against))


def at_its_optimum(arm):
    """The name under which an arm at its own optimum opens the test."""
    return f"{arm}, at its optimum"


def at_optimum(predictions, labels, optima):
    """A tuple with an AtOptimum for each of {arm: Optimum}, the gain against `real` at its own."""
    return tuple(AtOptimum(
        arm, best.recipe.steps, best.recipe.lr, best.edge,
        statistics.estimate(right(predictions[at_its_optimum(arm)], labels), "%"),
        None if arm == REAL else difference(predictions, labels, at_its_optimum(arm), at_its_optimum(REAL)))
        for arm, best in optima.items())


def contrasts(predictions, labels, rival):
    """The secondary questions, as a tuple of Contrasts: is the best classical rival better than synthetic images, and
    do these add anything to it? p: Holm's correction over those that are asked. rival: of `best_rival`."""
    asked = [(a, b) for a, b in ((rival, MIXED), (f"{rival} + synthetic", rival)) if {a, b} <= set(predictions)]
    found = [difference(predictions, labels, *pair) for pair in asked]
    corrected = statistics.holm([e.p for e in found])
    return tuple(Contrast(*pair, e, float(p)) for pair, e, p in zip(asked, found, corrected, strict=True))


def rate_change(validation, low, high=None):
    """How the gain on `validation` images changes from one learning rate to another: a RateChange; None for one rate.

    validation: a list with the Images of each replicate; low, high: (rate, Fit of the arm real, Fit of real +
    synthetic), all with the same seeds and generators.
    """
    if high is None or low[0] == high[0]:
        return None
    labels, gains = np.concatenate([images.labels.numpy() for images in validation]), []
    for _, *fits in (low, high):
        real, mixed = (right(arms.predicted(f.models, validation), labels) for f in fits)
        gains.append(mixed - real)
    change = statistics.estimate(gains[1] - gains[0])
    return RateChange(low[0], high[0], float(np.nanmean(gains[0])), float(np.nanmean(gains[1])), change)


# ---------------------------------------------------------------- classes
def pairs(a, b):
    """Each network of arm a beside the one of arm b of the same replicate and seed. a, b: (replicates, generators,
    seeds, N), one of them may have a single generator -> two (networks, N)."""
    return [x.reshape(-1, x.shape[-1]) for x in np.broadcast_arrays(a, b)]


def confusion(predictions, labels, classes):
    """Confusion matrices of real and real + synthetic: rows (arm, true class), a column for each predicted one."""
    matrices = {}
    for arm in (REAL, MIXED):
        networks = predictions[arm].reshape(-1, len(labels))
        matrices[arm] = pd.DataFrame(statistics.confusion(networks, labels, len(classes)), classes, classes)
    return pd.concat(matrices, names=["arm", "true class"])


def changed_cells(predictions, labels, classes, before=REAL, after=MIXED):
    """What changed in the confusion matrix from one arm to another, two (K, K): in points, and p after Holm over all
    cells (statistics.changed_cells)."""
    a, b = pairs(predictions[before], predictions[after])
    change = statistics.confusion(b, labels, len(classes)) - statistics.confusion(a, labels, len(classes))
    return change, statistics.changed_cells(a, b, labels, len(classes))


def by_class(predictions, labels, classes, generations):
    """A row for each class: change of its recall with synthetic images (points), p, and how good these are.

    p: of the class's test images alone, from the same variance as that of the gain, after Holm's correction over the
    classes. generations: the `by_class` of each generator's result, of which the mean is taken.
    """
    points = pointwise(predictions, labels, MIXED, REAL)
    found = [statistics.estimate(points[..., labels == k]) for k in range(len(classes))]
    good = sum(g[["label_agreement", "coverage", "coverage_perfect"]] for g in generations) / len(generations)
    return pd.DataFrame({"change of recall": [e.value for e in found],
                         "p": statistics.holm([e.p for e in found])}, list(classes)).join(
        good.set_axis(list(classes)))
