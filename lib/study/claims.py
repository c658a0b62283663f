"""The original paper's claims ("Dreaming Data", a student project on CIFAR-10), and what a report's runs say to each.

What the paper measured is `REPRODUCED` or `NOT` where an interval of this report decides it; what it expected or
concluded without a measurement `HOLDS`, in `PART`, or `FAILS`, also by what is computed; else a claim is `OPEN`. The
words beside it give the numbers, or what would have to be run. The report's data stand in its words: on digits a claim
about CIFAR-10 is not settled for CIFAR-10. A claim about generators needs NETWORKS trained networks a side.

A run is anything with its `config`, its typed `result`, the run of the `training` behind it, and its `data` in words.
"""
from typing import NamedTuple

from lib.study import CLASSIFIERS, statistics
from lib.study.results import number

REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "cannot be decided"
HOLDS, PART, FAILS = "holds here", "holds here in part", "does not hold here"
PAPERS = 50_000     # synthetic images, beside as many real ones of CIFAR-10
EXCLUDED = 1.3      # points: the paper's gain, 2.47 from one run each, carries about +-1.2
NETWORKS = 5        # a side


class Answer(NamedTuple):
    """verdict: one of the six above; figure: the name of the report's figure that shows it, or ""."""

    claim: str
    where: str
    verdict: str
    evidence: str
    figure: str = ""


def answers(runs):
    """A tuple of Answers. runs: with `schedules`, `generations` and `studies`, each a sequence of runs, of the studies
    the main one first."""
    studies, generations = runs.studies, runs.generations
    return (images_help(studies), images_caused_it(studies), longer_is_better(generations), higher_rate(studies),
            cnn_is_better(studies), late_steps_are_redundant(runs.schedules), cosine_needs_less(generations))


def by_interval(estimate):
    """The verdict of a claim that something rises."""
    return REPRODUCED if estimate.above_zero else NOT if estimate.below_zero else OPEN


def none(gain, study):
    """Whether there is no effect: equivalent to 0 within the margin of the study's plan."""
    return statistics.equivalence(gain, study.margin) < 0.05


# ---------------------------------------------------------------- the study
def images_help(studies):
    claim = "Synthetic images raise an MLP's accuracy: 44 % without, 46.47 % with 5,000 a class."
    where = "section V, figures 7, 8"
    mlp = next((s for s in studies if s.config["classifier"] == "mlp"), None)
    if mlp is None:
        return Answer(claim, where, OPEN, "Needs a study with classifier mlp.")
    gain = mlp.result.gain
    excluded = mlp.training.config["dataset"] == "cifar10" and gain.high < EXCLUDED
    verdict = REPRODUCED if gain.above_zero else NOT if excluded or none(gain, mlp.result) else OPEN
    real, mixed = (mlp.result.arm(name).accuracy for name in ("real", "real + synthetic"))
    epochs = f"; at equal epochs, as the paper compared: {mlp.result.paper_gain}" if mlp.result.paper_gain else ""
    return Answer(claim, where, verdict,
                  f"{real} without, {mixed} with {mlp.result.synthetic_images:,} synthetic beside "
                  f"{mlp.result.real_images:,} real images at equal steps: {gain}{epochs} ({mlp.data}; the paper "
                  f"added {PAPERS:,} to {PAPERS:,}).", "forest")


def images_caused_it(studies):
    claim, where = "The synthetic images caused the increase.", "sections V, VII"
    if not studies or studies[0].result.paper_gain is None:
        return Answer(claim, where, OPEN, "The main study of this plan lacks the comparison at equal epochs.")
    study = studies[0].result
    gains = [gain for gain in (study.gain, study.optimum_gain) if gain]
    verdict = (OPEN if not study.paper_gain.above_zero else
               (PART if study.steps_gain.above_zero else HOLDS) if all(gain.above_zero for gain in gains) else
               FAILS if all(gain.below_zero or none(gain, study) for gain in gains) else OPEN)
    here = "" if study.paper_gain.above_zero else "There is no clear increase to explain. "
    best = f" With each arm at its own optimum: {study.optimum_gain}." if study.optimum_gain else ""
    return Answer(claim, where, verdict,
                  f"{here}At equal steps, where only the images differ: {study.gain}.{best} At equal epochs, the "
                  f"paper's comparison: {study.paper_gain}. What the steps alone do to the real images: "
                  f"{study.steps_gain}.", "bridge")


def higher_rate(studies):
    claim, where = "The gain grows if the classifier's learning rate is raised.", "section V"
    rates = studies[0].result.rates if studies else None
    if rates is None:
        return Answer(claim, where, OPEN, "Needs a study with more than one learning rate.")
    return Answer(claim, where, by_interval(rates.change),
                  f"From {rates.low_rate:g} to {rates.high_rate:g} the gain on validation images changes by "
                  f"{rates.change}.")


def cnn_is_better(studies):
    claim, where = "A CNN in place of the MLP would do better (not tested).", "section V"
    of = {kind: [s for s in studies if s.config["classifier"] == kind] for kind in ("mlp", "cnn")}
    pair = next(((a, b) for a in of["mlp"] for b in of["cnn"] if a.data == b.data), None)
    if pair is None:
        return Answer(claim, where, OPEN, "Needs a study with classifier mlp and one with cnn, on the same data.")
    mlp, cnn = ((s.result.arm("real + synthetic").accuracy, s.result.gain) for s in pair)
    better = between(*(s.result for s in pair))
    return Answer(claim, where, HOLDS if better.above_zero else FAILS if better.below_zero else OPEN,
                  f"With synthetic images the {CLASSIFIERS['mlp']} reaches {mlp[0]}, the CNN {cnn[0]}: {better}. What "
                  f"the images add: {mlp[1]} to the MLP, {cnn[1]} to the CNN.", "forest")


def between(mlp, cnn):
    """The CNN's accuracy with synthetic images minus the MLP's: of two Studies with the same replicates within these,
    with the test images as if each had its own, which is a little wide."""
    accuracies = [study.arm("real + synthetic").accuracy for study in (mlp, cnn)]
    if not mlp.replicates == cnn.replicates > 0:
        return statistics.difference(*reversed(accuracies))
    within = statistics.paired(*(study.networks.loc["real + synthetic"] for study in (mlp, cnn)))
    images = sum(a.value * (100 - a.value) / study.test_images
                 for a, study in zip(accuracies, (mlp, cnn), strict=True))
    return statistics.t_estimate(within.value, [statistics.standard_error(within)**2, images],
                                 [within.df, cnn.test_images - 1], within.n, within.of, "points")


# ---------------------------------------------------------------- the generators
SEEDS = ("seed", "data_seed")
PLACES = ("run_dir", "train_run", "device", "batch")        # of a sampling; they change no image


def setting(made, *but):
    """What makes a generation, but for its seeds, for what changes no image, and for the training parameters `but`."""
    train = {k: v for k, v in made.training.config.items() if k not in (*SEEDS, "run_dir", "device", *but)}
    return train, {k: v for k, v in made.config.items() if k not in (*SEEDS, *PLACES)}


def sides(generations, fits, *names):
    """Two groups of generations, repeats of each other in seeds, that differ in no training parameter but `names`.

    fits(a, b): whether the two trainings are of the kind that is asked for. None where there is no such pair. A network
    counts once.
    """
    pair = next(((a, b) for a in generations for b in generations
                 if fits(a.training.config, b.training.config) and setting(a, *names) == setting(b, *names)), None)
    return pair and [list({g.config["train_run"]: g for g in generations if setting(g) == setting(one)}.values())
                     for one in pair]


def compared(claim, where, pair, words):
    """The answer of two sides: is the second better in label agreement and in coverage, over the networks of each?"""
    if min(map(len, pair)) < NETWORKS:
        told = " and ".join(f"{len(side)} with {words(side[0].training.config)}" for side in pair)
        return Answer(claim, where, OPEN, f"Needs {NETWORKS} networks a side; this plan has {told}.")
    first, second = (words(side[0].training.config) for side in pair)
    agreement = statistics.welch(*([g.result.label_agreement.value for g in side] for side in pair))
    coverage = statistics.welch(*([g.result.coverage for g in side] for side in pair))
    verdicts = {by_interval(agreement), by_interval(coverage)}
    return Answer(claim, where, verdicts.pop() if len(verdicts) == 1 else OPEN,
                  f"With {second} instead of {first}, label agreement changes by {agreement} and coverage by "
                  f"{coverage} ({len(pair[0])} and {len(pair[1])} networks).", "quality")


def longer_is_better(generations):
    claim, where = "Images are better after 200 epochs than after 150.", "section III, figures 4, 5"
    pair = sides(generations, lambda a, b: a["steps"] * 4 == b["steps"] * 3, "steps")
    if pair is None:
        return Answer(claim, where, OPEN, "Needs two trainings, one of three quarters of the other's length.")
    return compared(claim, where, pair, lambda train: f"{train['steps']:,} training steps")


def cosine_needs_less(generations):
    claim, where = "A cosine schedule gives better images with less training.", "section VI"
    pair = sides(generations, lambda a, b: (a["schedule"], b["schedule"]) == ("linear", "cosine")
                 and b["steps"] < a["steps"], "schedule", "steps")
    if pair is None:
        return Answer(claim, where, OPEN, "Needs a linear training and a shorter cosine training, all else equal.")
    return compared(claim, where, pair, lambda train: f"{train['schedule']} and {train['steps']:,} training steps")


# ---------------------------------------------------------------- the schedules
def late_steps_are_redundant(schedules):
    claim, where = "Under a linear schedule the last steps are redundant.", "section VI"
    result = next((run.result for run in schedules if {"linear", "cosine"} <= set(run.result.facts.index)), None)
    if result is None:
        return Answer(claim, where, OPEN, "Needs the schedules notebook with linear and cosine.")
    linear, cosine = result.facts.loc[["linear", "cosine"], "redundant_steps"]
    return Answer(claim, where, HOLDS if linear > 2 * cosine else FAILS,
                  f"In {number(linear, 0)} of {result.T:,} steps less than 1 % of the image's variance is left under "
                  f"linear, in {number(cosine, 0)} under cosine (computed; that images are as good without "
                  "these steps was not tried).")
