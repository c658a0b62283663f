"""What came out of a study: predictions of test images as accuracies, differences with their intervals, and tables.

predictions: {arm: (variants, seeds, N)}, real and real + synthetic among them; labels: (N,) of the test images. A
variant is a generator; an arm in which no generator has a part has one.
"""
import numpy as np
import pandas as pd

from lib.study import CLASSIFIERS, arms, classifiers, statistics
from lib.study.results import ArmResult, Contrast, RateChange, Study

MIXED, EQUAL_EPOCHS = "real + synthetic", "real, equal epochs"


def answer(predictions, test, fits, built, recipe, choices, generations, *, setting, generator, filter_share, rates):
    """The Study: everything that notebook 40 keeps.

    test: the SealedTest; fits: {arm: Fit}; built: {arm: Arm} of all that there are; recipe: of every arm; choices: the
    Choices; generations: the Generation of each generator that was taken. The rest: fields of the Study.
    """
    labels, (train, _) = test.labels, built["real"].variants[0]
    mixed, rival = built[MIXED].variants, arms.best_rival(fits)
    gain = difference(predictions, labels, MIXED, "real")
    return Study(
        classifier=CLASSIFIERS[recipe.classifier],
        arms=results(predictions, labels, fits, {arm: built[arm].steps or recipe.steps for arm in predictions}),
        gain=gain,
        paper_gain=difference(predictions, labels, MIXED, EQUAL_EPOCHS),
        steps_gain=difference(predictions, labels, "real", EQUAL_EPOCHS),
        rival=rival, contrasts=contrasts(predictions, labels, rival),
        detectable=statistics.detectable(gain),
        variance=statistics.variance_parts(pointwise(predictions, labels, MIXED, "real")),
        lr=recipe.lr, setting=setting, generators=len(mixed), generator=generator, seeds=recipe.seeds,
        real_images=len(train), synthetic_images=len(mixed[0][1]), validation_images=len(choices.validation),
        test_images=len(labels), filter_share=filter_share, rates=rates, choices=choices.table,
        by_class=by_class(predictions, labels, train.classes, [g.by_class for g in generations]),
        confusion=confusion(predictions, labels, train.classes))


# ---------------------------------------------------------------- accuracies
def right(predictions, labels):
    """100 where a prediction is right, else 0: outcomes in percent. (..., N)"""
    return 100.0 * (predictions == labels)


def results(predictions, labels, fits, steps):
    """A tuple with an ArmResult for each arm. fits: {arm: Fit}; steps: {arm: optimiser steps}."""
    told = []
    for arm, p in predictions.items():
        told.append(ArmResult(
            arm, steps[arm], statistics.crossed(right(p, labels), "%"),
            float(statistics.accuracy(p, labels).std(ddof=1)), float(fits[arm].validation.mean()),
            None if arm == "real" else difference(predictions, labels, arm, "real")))
    return tuple(told)


def pointwise(predictions, labels, arm, against):
    """Points by which each network of `arm` beats the one of `against` of the same seed, on each image: (variants,
    seeds, N). An arm in which no generator has a part stands beside each generator's."""
    return right(predictions[arm], labels) - right(predictions[against], labels)


def difference(predictions, labels, arm, against):
    """Accuracy of `arm` minus that of `against`: an Estimate over generators, seeds and test images, in points; None
    where one of them was not trained."""
    if not {arm, against} <= set(predictions):
        return None
    return statistics.crossed(pointwise(predictions, labels, arm, against))


def contrasts(predictions, labels, rival):
    """The secondary questions, as a tuple of Contrasts: is the best classical rival better than synthetic images, and
    do these add anything to it? p: Holm's correction over those that are asked. rival: of `best_rival`."""
    asked = [(a, b) for a, b in ((rival, MIXED), (f"{rival} + synthetic", rival)) if {a, b} <= set(predictions)]
    found = [difference(predictions, labels, *pair) for pair in asked]
    corrected = statistics.holm([e.p for e in found])
    return tuple(Contrast(*pair, e, float(p)) for pair, e, p in zip(asked, found, corrected, strict=True))


def rate_change(validation, low, high):
    """How the gain on `validation` images changes from one learning rate to another: a RateChange; None for one rate.

    low, high: (rate, Fit of the arm real, Fit of real + synthetic), all with the same seeds and generators.
    """
    if low[0] == high[0]:
        return None
    labels, gains = validation.labels.numpy(), []
    for _, *fits in (low, high):
        real, mixed = ([classifiers.predict(model, validation.images).numpy() for model in f.models] for f in fits)
        gains.append(right(np.stack(mixed), labels) - right(np.stack(real), labels))
    change = statistics.crossed(gains[1] - gains[0])
    return RateChange(low[0], high[0], float(gains[0].mean()), float(gains[1].mean()), change)


# ---------------------------------------------------------------- classes
def pairs(a, b):
    """Each network of arm a beside the one of arm b of the same seed. a, b: (variants, seeds, N), one of them may have
    a single variant -> two (variants * seeds, N)."""
    return [x.reshape(-1, x.shape[-1]) for x in np.broadcast_arrays(a, b)]


def confusion(predictions, labels, classes):
    """Confusion matrices of real and real + synthetic: rows (arm, true class), a column for each predicted one."""
    matrices = {}
    for arm in ("real", MIXED):
        networks = predictions[arm].reshape(-1, len(labels))
        matrices[arm] = pd.DataFrame(statistics.confusion(networks, labels, len(classes)), classes, classes)
    return pd.concat(matrices, names=["arm", "true class"])


def changed_cells(predictions, labels, classes, before="real", after=MIXED):
    """What changed in the confusion matrix from one arm to another, two (K, K): in points, and p after Holm over all
    cells (statistics.changed_cells)."""
    a, b = pairs(predictions[before], predictions[after])
    change = statistics.confusion(b, labels, len(classes)) - statistics.confusion(a, labels, len(classes))
    return change, statistics.changed_cells(a, b, labels, len(classes))


def by_class(predictions, labels, classes, generations):
    """A row for each class: change of its recall with synthetic images (points), p, and how good these are.

    generations: the `by_class` of each generator's result, of which the mean is taken.
    """
    change, p = changed_cells(predictions, labels, classes)
    good = sum(g[["label_agreement", "coverage", "coverage_perfect"]] for g in generations) / len(generations)
    return pd.DataFrame({"change of recall": np.diag(change), "p": np.diag(p)}, list(classes)).join(
        good.set_axis(list(classes)))
