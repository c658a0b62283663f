"""The original paper's claims ("Dreaming Data", a student project on CIFAR-10), and what a plan's runs say to each.

`REPRODUCED` and `NOT` are for what the paper measured, where an interval decides it; `HOLDS`, in `PART`, and `FAILS`
for what it supposed, where we measured or computed it. Otherwise a claim is `OPEN`. A claim that a plan does not touch
has no answer. On other data than the paper's, and at other numbers of images or updates, its claim is not settled.

A run is anything with its `config`, its typed `result`, the run of the `training` behind it, and its `data` in words.
"""
from typing import NamedTuple

from lib.study import statistics
from lib.study.generators import CHANCE
from lib.study.results import Estimate

REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "cannot be decided"
HOLDS, PART, FAILS = "holds", "holds in part", "does not hold"
PAPER = {"without": "44 %", "with_synthetic": "46.47 %", "per_class": 5000, "synthetic": 50_000, "epochs": 200,
         "fewer_epochs": 150}
EXCLUDED = 1.3      # points: the paper's gain, 2.47 from one run each, is uncertain by some 1.2
NETWORKS = 5        # trained networks a side that a claim about generators needs


class Answer(NamedTuple):
    """verdict: one of the six above; number: the Estimate that decides, or what was computed as text; study: the label
    of the run that it is of; what: what the number is."""

    claim: str
    where: str
    verdict: str
    number: Estimate | str
    study: str
    what: str = ""


def answers(runs):
    """The Answers that a plan's runs give. runs: with `schedules`, `generations` and `studies`, each a sequence of
    runs, of the studies the main one first."""
    generations = [made for made in runs.generations if "train_run" in made.config]     # none from elsewhere
    found = (images_help(runs.studies), images_caused_it(runs.studies), longer_is_better(generations),
             cnn_gains_more(runs.studies), late_steps_are_redundant(runs.schedules), cosine_needs_less(generations))
    return tuple(answer for answer in found if answer)


def by_interval(estimate):
    """The verdict of a claim that something rises."""
    return REPRODUCED if estimate.above_zero else NOT if estimate.below_zero else OPEN


def is_none(gain, study):
    """Whether there is no effect: equivalent to 0 within the margin of the study's plan."""
    return statistics.equivalence(gain, study.margin) < 0.05


# ---------------------------------------------------------------- the study
def images_help(studies):
    """At the paper's numbers (CIFAR-10, 50,000 synthetic images, a generator of 150 epochs) an interval below EXCLUDED
    decides against it; at others only a gain decides, for it."""
    mlp = next((s for s in studies if s.config["classifier"] == "mlp"), None)
    if mlp is None:
        return None
    gain = mlp.result.headline
    alike = (mlp.training.config["dataset"] == "cifar10" and mlp.result.synthetic_images >= PAPER["synthetic"]
             and getattr(mlp.training.result, "epochs", 0) >= PAPER["fewer_epochs"])
    excluded = alike and gain.high is not None and gain.high < EXCLUDED
    verdict = REPRODUCED if gain.above_zero else NOT if excluded else OPEN
    return Answer("Synthetic images raise an MLP's accuracy.", "section V, figures 7, 8", verdict, gain, mlp.label,
                  compared_at(mlp.result))


def images_caused_it(studies):
    """At equal updates and at each arm's own optimum the images alone must raise the accuracy."""
    if not studies or studies[0].result.paper_gain is None:
        return None
    study = studies[0].result
    gains = [gain for gain in (study.gain, study.optimum_gain) if gain]
    verdict = (OPEN if not study.paper_gain.above_zero else
               (PART if study.steps_gain.above_zero else HOLDS) if all(gain.above_zero for gain in gains) else
               FAILS if all(gain.below_zero or is_none(gain, study) for gain in gains) else OPEN)
    return Answer("The images caused the increase.", "sections V, VII", verdict, gains[-1], studies[0].label,
                  compared_at(study))


def compared_at(study):
    """How the headline of a Study compares."""
    return "each at its best" if study.optimum_gain else "at equal updates"


def cnn_gains_more(studies):
    """A claim about a CNN is one about its gain, each arm at its own optimum; without that it is open."""
    of = {kind: [s for s in studies if s.config["classifier"] == kind] for kind in ("mlp", "cnn")}
    pair = next(((a, b) for a in of["mlp"] for b in of["cnn"] if a.data == b.data), None)
    if pair is None:
        return None
    mlp, cnn = (s.result for s in pair)
    best = mlp.optimum_gain and cnn.optimum_gain
    better = statistics.difference(*((s.optimum_gain if best else s.gain) for s in (cnn, mlp)))
    verdict = OPEN if not best else HOLDS if better.above_zero else FAILS if better.below_zero else OPEN
    return Answer("A CNN would gain more than the MLP (not tested).", "section V", verdict, better, pair[1].label,
                  "the CNN's gain less the MLP's, " + ("each at its best" if best else "at equal updates"))


# ---------------------------------------------------------------- the generators
def setting(made, *but):
    """What makes a generation, but for its seeds, for what changes no image, and for the training parameters `but`."""
    train = {k: v for k, v in made.training.config.items() if k not in (*CHANCE, *but)}
    return train, {k: v for k, v in made.config.items() if k not in (*CHANCE, "batch")}


def sides(generations, fits, *names):
    """Two groups of generations, repeats of each other in seeds, that differ in no training parameter but `names`.

    fits(a, b): whether the two trainings are of the kind that is asked for. None where there is no such pair. A network
    counts once.
    """
    pair = next(((a, b) for a in generations for b in generations
                 if fits(a.training.config, b.training.config) and setting(a, *names) == setting(b, *names)), None)
    return pair and [list({g.config["train_run"]: g for g in generations if setting(g) == setting(one)}.values())
                     for one in pair]


def compared(claim, where, pair):
    """The answer of two sides: is the second better in label agreement and in coverage, over the networks of each?"""
    first, second = pair
    if min(len(first), len(second)) < NETWORKS:
        return Answer(claim, where, OPEN, f"{len(first)} and {len(second)} networks, {NETWORKS} each are needed",
                      second[0].label)
    agreement = statistics.welch(*([g.result.label_agreement.value for g in side] for side in pair))
    coverage = statistics.welch(*([g.result.coverage for g in side] for side in pair))
    verdicts = {by_interval(agreement), by_interval(coverage)}
    return Answer(claim, where, verdicts.pop() if len(verdicts) == 1 else OPEN, agreement, second[0].label,
                  "label agreement")


def longer_is_better(generations):
    pair = sides(generations, lambda a, b: a["steps"] * 4 == b["steps"] * 3, "steps")
    return pair and compared("Images are better after 200 epochs than after 150.", "section III, figures 4, 5", pair)


def cosine_needs_less(generations):
    pair = sides(generations, lambda a, b: (a["schedule"], b["schedule"]) == ("linear", "cosine")
                 and b["steps"] < a["steps"], "schedule", "steps")
    return pair and compared("A cosine schedule gives better images with less training.", "section VI", pair)


# ---------------------------------------------------------------- the schedules
def late_steps_are_redundant(schedules):
    """Computed: in how many steps less than 1 % of the image's variance is left."""
    run = next((run for run in schedules if {"linear", "cosine"} <= set(run.result.facts.index)), None)
    if run is None:
        return None
    linear, cosine = run.result.facts.loc[["linear", "cosine"], "redundant_steps"]
    return Answer("Under a linear schedule the last steps are redundant.", "section VI",
                  HOLDS if linear > 2 * cosine else FAILS,
                  f"{linear:,.0f} of {run.result.T:,} steps hold under 1 % of the image, {cosine:,.0f} under cosine",
                  run.label)
