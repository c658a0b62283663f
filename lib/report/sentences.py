"""A result in sentences: pure functions, result -> Markdown."""

from lib.report.results import number, p_words


# ---------------------------------------------------------------- study
def images_of_study(given, generations, seeds):
    """What a study works with. given: its Material; generations: {label: Generation}."""
    split, numbers = given.split, sorted({len(images) for images in given.synthetic})
    each = " or ".join(f"{n:,}" for n in numbers)
    said = (f"{len(split.train):,} real training images, {len(split.validation):,} to choose on, {len(split.test):,} "
            f"to be judged on; {each} synthetic ones from each generator. ")
    said += (f"{given.replicates} replicates, each with a split, a generator and a classifier of its own."
             if given.replicates else f"{seeds} classifiers for each arm and generator.")
    lines = [f"- `{label}`: label agreement {g.label_agreement}, copies of training images: {g.memorisation.verdict}"
             for label, g in generations.items()]
    return "\n".join([said, "", *lines])


def of_planned(result):
    """'10', or '9 of 10' where replicates of a Study or Dose failed."""
    return f"{result.replicates}" + (f" of {result.planned}" if result.planned > result.replicates else "")


GENERAL = 5     # replicates from which on an interval speaks of all networks like these


def verb(gain):
    """What an Estimate of a gain lets one say: images 'raise', 'lower' or 'do not clearly change' the accuracy."""
    return "raise" if gain.above_zero else "lower" if gain.below_zero else "do not clearly change"


def study(result):
    """The answer of a Study, and what the original paper's comparison would have shown."""
    said = (f"At equal steps, synthetic images **{verb(result.gain)}** the test accuracy of the {result.classifier}: "
            f"{result.gain}, {p_words(result.gain.p)}.")
    if result.paper_gain:
        said += (f" The original paper's comparison, at equal epochs, would have shown {result.paper_gain}; of that, "
                 f"the additional steps alone make {result.steps_gain}.")
    if 0 < result.replicates < GENERAL:
        said += f" With fewer than {GENERAL} replicates this speaks of these networks and is no general verdict."
    if result.optimum_gain:
        said += f" With each arm at its own optimum, the gain is {result.optimum_gain}."
    if result.none:
        said += (f" That is none: it lies within the margin of {result.margin:g} points that was set beforehand "
                 f"({p_words(result.equivalence)}).")
    return said


def study_method(result):
    """What the intervals and p-values of a Study mean."""
    over = f"{result.test_images:,} test images"
    if result.replicates:
        over = (f"{of_planned(result)} replicates, each with a split, a generator, sampling noise and a classifier of "
                f"its own, and {over}")
    elif result.generators > 1:
        over = f"{result.generators} generators, {result.seeds} seeds and {over}"
    else:
        over = (f"{result.seeds} seeds and {over}; with one generator they speak of that generator and of no other")
    said = (f"Intervals hold 95 % and are taken over {over} (`lib.study.statistics`). A gain of "
            f"{result.detectable:.1f} points would be found in four of five such studies.")
    if result.contrasts:
        said += (f" *{result.rival}* is the classical augmentation that is best on validation images; the p-values of "
                 "its rows are corrected for their number (Holm).")
    return said


def rates(r):
    """How the gain changes with the learning rate: a RateChange; "" for None, where only one was tried."""
    if r is None:
        return ""
    return (f"At a learning rate of {r.low_rate:g} the synthetic images add {number(r.low_gain, signed=True)} points "
            f"on validation images, at {r.high_rate:g} {number(r.high_gain, signed=True)}: a change of {r.change}.")


def accuracies(result):
    """Alt text and caption of the dots of a Study's test accuracies."""
    more = f", with each of {result.generators} generators where they have a part" * (result.generators > 1)
    each = f"{of_planned(result)} replicates" if result.replicates else f"{result.seeds} seeds{more}"
    return ("Dot plot of test accuracy: one dot for each network and a bar at the mean, a row for each arm.",
            f"Test accuracy of each arm: a dot is a network ({each}), a bar the mean.")


STUDY_FIGURES = {       # name: (alt text, caption)
    "converged": (
        "Line chart: validation accuracy against optimiser steps, for real and for mixed training images.",
        "Converged? Validation accuracy while training, mean and range over all networks."),
    "confusion": (
        "Two confusion matrices side by side: trained on real images, and on real and synthetic images.",
        "Confusion matrices without and with synthetic images, one scale."),
    "confusion_difference": (
        "Confusion matrix of differences: blue cells grew, red cells shrank when synthetic images were added; "
        "significant ones have a frame.",
        "What synthetic images changed, in points: on the diagonal blue is good, elsewhere red is good. A frame: "
        "p < 0.05 of McNemar's tests of all pairs of networks, after Holm's correction over all cells."),
    "by_class": (
        "Three columns of dots, a row for each class: the change of recall, the label agreement and the coverage of "
        "its synthetic images.",
        "The change of each class's recall (filled: p < 0.05 after Holm) beside the label agreement and the coverage "
        "of its synthetic images (hollow: what a perfect generator would cover)."),
}


# ---------------------------------------------------------------- dose
def images_of_dose(given, synthetic, generations, seeds):
    """What a dose study works with. given: its Material; synthetic: the Images of a split; generations: {label:
    Generation}."""
    split = given.split
    said = (f"{len(split.train):,} real and {len(synthetic):,} synthetic images, {len(split.test):,} test images, "
            f"from {', '.join(f'`{label}`' for label in generations)}; ")
    return said + (f"{given.replicates} replicates, each with a split, a generator and a classifier of its own."
                   if given.replicates else f"{seeds} classifiers at each dose.")


def dose_figure(result):
    """Alt text and caption of the curves of a Dose."""
    over = f"{of_planned(result)} replicates" if result.replicates else f"{result.seeds} seeds"
    return ("Three line charts of test accuracy: against the number of synthetic images, against their share of a "
            "batch, and against the number of real or synthetic images.",
            "Dose and response, all at the same number of steps: mean and 95 % interval over "
            f"{over} and {result.test_images:,} test images.")


def dose(result):
    """The answers of a Dose: the best share of a batch and the exchange rate."""
    rates = "; ".join(f"{e.synthetic:,} synthetic images alone are as good as {result.worth(e)} real ones"
                      for e in result.exchange)
    over = (f"{of_planned(result)} replicates, each with its own generator and subset of real images, and "
            f"{result.test_images:,} test images" if result.replicates else
            f"{result.seeds} seeds and {result.test_images:,} test images, not over generators and subsets of real "
            "images")
    return (f"Best share of synthetic images in a batch, by validation: {result.best_share:g}. Exchange rate: {rates} "
            f"(in brackets: over {over}). Doses are exploratory: nothing about them was fixed before.")


# ---------------------------------------------------------------- ablation
LIMIT = {"survives": "The hypothesis survives", "does not survive": "The hypothesis does not survive",
         "undecided": "Label agreement does not decide it at this number of images"}


def limit(result):
    """Whether an estimate out of range ruins the walk of cosine with target eps, of an Ablation; "" if not asked."""
    if not result.limit:
        return ""
    walks = {(w.schedule, w.target): w for w in result.walks}
    suspect = walks.pop(("cosine", "eps"))
    others = "; ".join(f"to {schedule} with {target} {w.lost.bare}, {number(w.free_spread, 2)} times"
                       for (schedule, target), w in walks.items())
    return (f"{LIMIT[result.limit]}: clipping adds {suspect.lost} of label agreement to cosine with target eps, whose "
            f"pixels spread {number(suspect.free_spread, 2)} times as far as real ones without it; {others}.")
