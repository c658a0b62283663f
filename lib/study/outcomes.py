"""What came out of a study: predictions of test images as accuracies, differences with their intervals, and tables.

predictions: {arm: (replicates, generators, seeds, N)}, real and real + synthetic among them; labels: (N,) of the test
images. An arm in which no generator has a part has one. An image that is no test image of a replicate is NOT_TESTED.
"""
import itertools

import numpy as np
import pandas as pd

from lib.study import EQUAL_EPOCHS, MIXED, PRESENTATIONS, REAL, called, statistics
from lib.study.results import ArmResult, AtOptimum, Contrast, GeneratorGain, RateChange, Study
from lib.study.statistics import right


def answer(predictions, test, fits, built, recipe, choices, generations, *, setting, generator, filter_share, rates,
           rival="", optima=None, margin=0.5, missing=(), augment="", settings=None, between=()):
    """The Study: everything that notebook 40 keeps.

    predictions: also of each arm of `optima` by its name in `at_its_optimum`; test: the SealedTest; fits: {arm: Fit};
    built: {arm: Mix}; recipe: of every arm; choices: the Choices; generations: the Generation of each generator that
    was taken; rival: `best_rival`; optima: {arm: Optimum}; missing: run folders of the replicates that failed,
    .../NAME.REPLICATE; settings: as in `generator_gains`. The rest: fields of the Study.
    """
    labels, best = test.labels, at_optimum(predictions, test.labels, optima or {})
    family = () if augment and not rival else contrasts(predictions, labels, rival, bool(optima))
    of_settings = generator_gains(predictions, labels, settings or {})
    predictions = {arm: p for arm, p in predictions.items() if arm in fits}
    train, synthetic = (part[0] for part in built[MIXED].variants[0])      # of the first replicate
    gain, networks = difference(predictions, labels, MIXED, REAL), predictions[MIXED].shape
    presentations = difference(predictions, labels, MIXED, PRESENTATIONS)
    replicates = networks[0] if networks[0] > 1 else 0
    main = [gain, presentations, next((a.gain for a in best if a.arm == MIXED), None)]
    return Study(
        classifier=called(recipe.classifier),
        arms=results(predictions, labels, fits, {arm: built[arm].steps or recipe.steps for arm in predictions}),
        gain=gain,
        paper_gain=difference(predictions, labels, MIXED, EQUAL_EPOCHS),
        steps_gain=difference(predictions, labels, REAL, EQUAL_EPOCHS),
        rival=rival, contrasts=family,
        detectable=statistics.detectable(gain),
        variance=statistics.variance_parts(pointwise(predictions, labels, MIXED, REAL))[["n", "variance"]],
        lr=recipe.lr, setting=setting, generators=networks[0] * networks[1], generator=generator,
        seeds=networks[2], replicates=replicates, planned=planned(replicates, missing),
        margin=margin, equivalence=statistics.equivalence(gain, margin), optimum=best,
        real_images=len(train), synthetic_images=len(synthetic), validation_images=len(choices.validation[0]),
        test_images=len(labels), filter_share=filter_share, rates=rates, choices=choices.table,
        by_class=by_class(predictions, labels, train.classes, [g.by_class for g in generations]),
        confusion=confusion(predictions, labels, train.classes),
        networks=pd.DataFrame({arm: pd.Series(accuracies(p, labels)) for arm, p in predictions.items()}).T,
        presentation_gain=presentations, displacement=difference(predictions, labels, PRESENTATIONS, REAL),
        verdict=verdict([e for e in main if e], margin), test_sets=tuple(test.hashes),
        augment=augment, generator_gains=of_settings, between=tuple(between))


def generator_gains(predictions, labels, settings):
    """A tuple with a GeneratorGain for each {name: Setting}."""
    gains = []
    for name, setting in settings.items():
        pair = name, REAL
        if set(best := [at_its_optimum(one) for one in pair]) <= set(predictions):
            pair = best
        points, (generation, training) = pointwise(predictions, labels, *pair), setting.made[0]
        each = statistics.replicate_means(points).tolist() if len(points) > 1 else []
        gains.append(GeneratorGain(
            setting.arm, setting.words, seen(generation, training),
            float(np.mean([g.result.frechet.value / g.result.reference.value for g, _ in setting.made])),
            difference(predictions, labels, *pair), tuple(each)))
    return tuple(gains)


def seen(generation, training):
    """How many images the network behind a generation saw; 0, unknown, for images from elsewhere."""
    return 0 if generation is training else generation.config.get("rung") or training.result.images


def planned(replicates, missing):
    """How many replicates the plan asked for: those there are and those that are missing; 0 without replicates."""
    return replicates and replicates + len({folder.rpartition(".")[2] for folder in missing})


def verdict(gains, margin):
    """What all of these gains say together: "helps", "hurts", "none" (each within the margin), "open" where they do not
    agree or do not decide, or "" where one has no interval.

    Synthetic images take real ones' place in a batch, so a gain at equal updates alone is no verdict: the gain at equal
    real presentations, and the one with each arm at its own optimum, must agree with it.
    """
    if any(gain.low is None for gain in gains):
        return ""
    if all(gain.above_zero for gain in gains):
        return "helps"
    if all(gain.below_zero for gain in gains):
        return "hurts"
    return "none" if all(statistics.equivalence(gain, margin) < 0.05 for gain in gains) else "open"


# ---------------------------------------------------------------- accuracies
def accuracies(predictions, labels):
    """Accuracy of each network in percent, in one row. (networks,)"""
    return np.nanmean(right(predictions, labels), -1).ravel()


def results(predictions, labels, fits, steps):
    """A tuple with an ArmResult for each arm. fits: {arm: Fit}; steps: {arm: updates}."""
    return tuple(ArmResult(
        arm, steps[arm], statistics.estimate(right(p, labels), "%"), spread(accuracies(p, labels)),
        fits[arm].validation, None if arm == REAL else difference(predictions, labels, arm, REAL))
        for arm, p in predictions.items())


def spread(values):
    """The standard deviation of several values, 0 of a single one."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def pointwise(predictions, labels, arm, against):
    """Points by which each network of `arm` beats the one of `against` of the same replicate and seed, on each image:
    (replicates, generators, seeds, N). A network that no generator has a part in is compared with each generator's."""
    return right(predictions[arm], labels) - right(predictions[against], labels)


def difference(predictions, labels, arm, against):
    """Accuracy of `arm` minus that of `against`, in points: an Estimate over all that was repeated; None where one of
    them was not trained."""
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


def contrasts(predictions, labels, rival, at_optimum=False):
    """The two secondary questions, as a tuple of Contrasts: is the best free augmentation better than synthetic images,
    and do these add anything to it?

    They are asked with each arm at its own optimum where there is one, as the headline is. p: Holm's correction for
    two, whether both could be asked or not; where one could not, its difference and p are None. rival: of `best_rival`.
    """
    place, rival = at_its_optimum if at_optimum else str, rival or "free augmentation"
    pairs = (rival, MIXED), (f"{rival} + synthetic", rival)
    differences = [difference(predictions, labels, *map(place, pair)) for pair in pairs]
    corrected = statistics.holm([e.p if e else None for e in differences])
    return tuple(Contrast(*pair, e, float(p) if e and e.p is not None else None, at_optimum)
                 for pair, e, p in zip(pairs, differences, corrected, strict=True))


def between_settings(predictions, labels):
    """What real + synthetic gains from one setting of the generator to another, for each pair: a tuple of Contrasts.

    predictions: {setting: (replicates, generators, seeds, N)}, of the same replicates, so the differences are paired.
    p: Holm's correction over all pairs.
    """
    chosen = [(after, before) for before, after in itertools.combinations(predictions, 2)]
    differences = [difference(predictions, labels, *pair) for pair in chosen]
    corrected = statistics.holm([e.p for e in differences])
    return tuple(Contrast(*pair, e, float(p) if e.p is not None else None)
                 for pair, e, p in zip(chosen, differences, corrected, strict=True))


def rate_change(low, high):
    """How the gain on validation images changes from one learning rate to another: a RateChange; None for one rate.

    low, high: (rate, Fit of the arm real, Fit of real + synthetic), all with the same seeds and generators.
    """
    if low[0] == high[0]:
        return None
    gains = [mixed.right - real.right for _, real, mixed in (low, high)]
    return RateChange(low[0], high[0], *(float(statistics.replicate_means(gain).mean()) for gain in gains),
                      statistics.estimate(gains[1] - gains[0]))


# ---------------------------------------------------------------- classes
def macro_recall(predictions, labels, arm, against=None):
    """The macro recall (balanced accuracy) of an arm in percent, or its difference to that of another in points."""
    if against is None:
        return statistics.macro_estimate(right(predictions[arm], labels), labels, "%")
    return statistics.macro_estimate(pointwise(predictions, labels, arm, against), labels)


def recalls(predictions, labels, classes):
    """The recall of each class by each arm in percent, an Estimate in a table: rows classes, columns arms."""
    return pd.DataFrame({arm: [statistics.estimate(right(p[..., labels == k], labels[labels == k]), "%")
                               for k in range(len(classes))] for arm, p in predictions.items()}, index=list(classes))


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
    changes = [statistics.estimate(points[..., labels == k]) for k in range(len(classes))]
    good = sum(g[["label_agreement", "coverage", "coverage_perfect"]] for g in generations) / len(generations)
    return pd.DataFrame({"change of recall": [e.value for e in changes],
                         "p": statistics.holm([e.p for e in changes])}, list(classes)).join(
        good.set_axis(list(classes)))
