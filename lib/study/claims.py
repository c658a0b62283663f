"""The seed paper's claims ("Dreaming Data", a student project on CIFAR-10), and what the runs of a report say to each.

A claim is `REPRODUCED` or `NOT` where a test of this report decides it, else `OPEN`; the words beside it give the
numbers, or what would have to be run. The report's data stand in its words: on digits a claim about CIFAR-10 is not
settled for CIFAR-10.
"""
from typing import NamedTuple

from lib.study import statistics

REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "cannot be decided"
GAIN = 2.47         # points from 44 % to 46.47 %, one run each


class Answer(NamedTuple):
    claim: str
    where: str
    verdict: str
    here: str


def answers(schedules, generators, studies):
    """The list of Answers. Each argument: list of mappings, one for each run.

    schedules: {T, ...metrics}. generators: {train: config, sample: config, metrics}. studies: {config, metrics, data,
    generator: the training's and sampling's config as in generators}; the first study is the main one.
    """
    return [images_help(studies), images_caused_it(studies), longer_is_better(generators), higher_rate(studies),
            cnn_is_better(studies), late_steps_are_redundant(schedules), cosine_needs_less(generators), batch_divides()]


def spread(m, arm):
    return f"{m[f'accuracy_{arm}']:.2f} ± {m[f'accuracy_{arm}_sd']:.2f} % (n = {m[f'accuracy_{arm}_n']})"


def interval(value, low, high, unit="points"):
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f}) {unit}"


def images_help(studies):
    claim = "Synthetic images raise an MLP's accuracy: 44 % without, 46.47 % with 5,000 a class."
    where = "section V, figures 7, 8"
    if not studies:
        return Answer(claim, where, OPEN, "This plan has no study.")
    m = studies[0]["metrics"]
    here = (f"{spread(m, 'real')} without, {spread(m, 'mixed')} with them at equal steps: "
            f"{interval(m['gain'], m['gain_low'], m['gain_high'])} ({studies[0]['data']}).")
    if m["verdict"] == "raise":
        return Answer(claim, where, REPRODUCED, here)
    return Answer(claim, where, NOT if m["gain_high"] < GAIN else OPEN, here)


def images_caused_it(studies):
    claim, where = "The synthetic images caused the increase.", "sections V, VII"
    if not studies or "naive_gain" not in studies[0]["metrics"]:
        return Answer(claim, where, OPEN, "The main study of this plan lacks the comparison at equal epochs.")
    m = studies[0]["metrics"]
    naive = interval(m["naive_gain"], m["naive_gain_low"], m["naive_gain_high"])
    verdict = REPRODUCED if m["verdict"] == "raise" else NOT if m["gain_high"] < m["naive_gain"] else OPEN
    return Answer(claim, where, verdict,
                  f"At equal epochs, the paper's comparison, {naive}; at equal steps "
                  f"{interval(m['gain'], m['gain_low'], m['gain_high'])}. The rest, {m['naive_gain'] - m['gain']:+.2f} "
                  "points, is made by the number of steps.")


def longer_is_better(generators):
    claim, where = "Images are better after 200 epochs than after 150.", "section III, figures 4, 5"
    pair = pair_of(generators, lambda a, b: a["train"]["steps"] * 4 == b["train"]["steps"] * 3, "train", "steps")
    if pair is None:
        return Answer(claim, where, OPEN, "Needs two trainings, one of three quarters of the other's length.")
    return compared(claim, where, pair, generators, lambda g: f"{g['train']['steps']:,} training steps")


def cosine_needs_less(generators):
    claim, where = "A cosine schedule gives better images with less training.", "section VI"
    pair = pair_of(generators, lambda a, b: (a["train"]["schedule"], b["train"]["schedule"]) == ("linear", "cosine"),
                   "train", "schedule")
    if pair is None:
        return Answer(claim, where, OPEN, "Needs a linear and a cosine training, all else equal.")
    return compared(claim, where, pair, generators, lambda g: g["train"]["schedule"])


def parameters_of(g, *but):
    """What makes a generator, but for the (part, name) in `but` and for what changes no image."""
    skip = {("sample", "images_per_class"), ("sample", "batch"), *but}
    return {(part, k): v for part in ("train", "sample") for k, v in g[part].items()
            if (part, k) not in skip and k not in ("run_dir", "train_run", "device")}


def pair_of(generators, fits, part, name):
    """The first two generators for which `fits(a, b)`, that differ in no parameter but this one."""
    return next(((a, b) for a in generators for b in generators
                 if fits(a, b) and parameters_of(a, (part, name)) == parameters_of(b, (part, name))), None)


def compared(claim, where, pair, generators, words):
    """The answer of a comparison of label agreement: is the second's higher, by more than another seed makes?

    The interval speaks of the images of these two networks. How far another network goes is seen where a plan trains
    one of the two again with another seed; without that, one pair of networks decides nothing.
    """
    (a, n), (b, m) = ((g["metrics"]["label_agreement"], g["metrics"]["images"]) for g in pair)
    difference, low, high = statistics.difference_of_proportions((b, m), (a, n))
    seeds = ("train", "seed"), ("sample", "seed")
    repeats = [[g["metrics"]["label_agreement"] for g in generators
                if parameters_of(g, *seeds) == parameters_of(one, *seeds)] for one in pair]
    chance = max(max(r) - min(r) for r in repeats)
    repeated = max(map(len, repeats)) > 1
    verdict = REPRODUCED if repeated and low > chance else NOT if repeated and high < -chance else OPEN
    return Answer(claim, where, verdict,
                  f"Label agreement {a:.1f} % with {words(pair[0])} and {b:.1f} % with {words(pair[1])}: "
                  f"{interval(difference, low, high)}; n = {n:,} and {m:,} images, one network each. "
                  + (f"Another seed alone changes it by {chance:.1f} points." if repeated else
                     "No network was trained with another seed, so it is not known what chance does."))


def higher_rate(studies):
    claim, where = "The gain grows if the classifier's learning rate is raised.", "section V"
    m = studies[0]["metrics"] if studies else {}
    if "rate_gain" not in m:
        return Answer(claim, where, OPEN, "Needs a study with more than one learning rate.")
    return Answer(claim, where, REPRODUCED if m["rate_gain_low"] > 0 else NOT if m["rate_gain_high"] < 0 else OPEN,
                  f"From {m['rate_low']:g} to {m['rate_high']:g} the gain on validation images changes by "
                  f"{interval(m['rate_gain'], m['rate_gain_low'], m['rate_gain_high'])} (paired over networks).")


def cnn_is_better(studies):
    claim, where = "A CNN in place of the MLP would do better (not tested).", "section V"
    of = {kind: [s for s in studies if s["config"]["classifier"] == kind] for kind in ("mlp", "cnn")}
    pair = next(((a["metrics"], b["metrics"]) for a in of["mlp"] for b in of["cnn"] if a["data"] == b["data"]), None)
    if pair is None:
        return Answer(claim, where, OPEN, "Needs a study with classifier mlp and one with cnn, on the same data.")
    a, b = pair
    _, low, high = statistics.difference_of_proportions(*((m["accuracy_mixed"], m["test_images"]) for m in (b, a)))
    return Answer(claim, where, REPRODUCED if low > 0 else NOT if high < 0 else OPEN,
                  f"With synthetic images the MLP reaches {spread(a, 'mixed')}, the CNN {spread(b, 'mixed')}. What the "
                  f"images add: {interval(a['gain'], a['gain_low'], a['gain_high'])} to the MLP, "
                  f"{interval(b['gain'], b['gain_low'], b['gain_high'])} to the CNN.")


def late_steps_are_redundant(schedules):
    claim, where = "Under a linear schedule the last steps are redundant.", "section VI"
    m = next((s for s in schedules if {"linear_redundant_steps", "cosine_redundant_steps"} <= set(s)), None)
    if m is None:
        return Answer(claim, where, OPEN, "Needs the schedules notebook with linear and cosine.")
    linear, cosine = m["linear_redundant_steps"], m["cosine_redundant_steps"]
    return Answer(claim, where, REPRODUCED if linear > 2 * cosine else NOT,
                  f"In {linear} of {m['T']} steps less than 1 % of the signal is left under linear, in {cosine} under "
                  "cosine (computed, not sampled).")


def batch_divides():
    left, right = 5000 % 100, 5000 % 80
    return Answer("Batches of 100 divide 5,000 images a class without remainder, batches of 80 don't.", "section V",
                  REPRODUCED if (left, bool(right)) == (0, True) else NOT,
                  f"5,000 = {5000 // 100} batches of 100; batches of 80 leave {right} images. (The sampler here makes "
                  "any number with any batch, and the batch changes no image.)")
