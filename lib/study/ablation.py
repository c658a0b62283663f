"""Why did the original paper's cosine schedule give poor images? The same walk without and with a limit on x0.

The hypothesis: near pure noise the estimate of the image is the network's error divided by sqrt(alphas_cumprod), and
the first plain reverse step passes it on, 31.6 times under cosine and 0.02 times under linear. Then cosine with target
eps must fail without a limit on the estimate and recover with one, and linear, and target v, must need none.
"""
import numpy as np

from lib.study import statistics
from lib.study.results import Estimate, Walk

SUSPECT = ("cosine", "eps")
ASKED = {SUSPECT, ("linear", "eps"), ("cosine", "v")}       # schedules and targets without which nothing is decided
FAILS = 10                                                  # points of label agreement: less is no failure


def walks(generators):
    """A tuple with a Walk for each sampling that one network made both without a limit and with estimates clipped.

    generators: [(config of the training, config of the sampling, its Generation)]
    """
    found = {}
    for train, sample, result in generators:
        same = {k: v for k, v in sample.items() if k not in ("x0_handling", "run_dir", "device", "batch")}
        words = train["schedule"], train["target"], sample["sampler"], sample["sample_steps"]
        found.setdefault(repr(same), (words, {}))[1][sample["x0_handling"]] = result
    return tuple(walk(*words, by["none"], by["clip"]) for words, by in found.values() if {"none", "clip"} <= set(by))


def walk(schedule, target, sampler, steps, free, clipped):
    """The Walk of two Generations; Newcombe's interval of independent images of one network."""
    a, b = ((g.label_agreement.value, g.images) for g in (clipped, free))
    lost = Estimate(*map(float, statistics.difference_of_proportions(a, b)), free.images, "images", "points")
    return Walk(schedule, target, sampler, steps, free.label_agreement, clipped.label_agreement, lost,
                free.pixel_spread, clipped.pixel_spread)


def limit_verdict(walks):
    """What the walks say to the hypothesis: "survives" (each of cosine with eps loses label agreement, and more than
    each other), "does not survive" (one of them loses less than FAILS, or another one loses too), "undecided", or ""
    where one of ASKED is missing."""
    if not ASKED <= {(w.schedule, w.target) for w in walks}:
        return ""
    suspects = [w.lost for w in walks if (w.schedule, w.target) == SUSPECT]
    others = [w.lost for w in walks if (w.schedule, w.target) != SUSPECT]
    if all(suspect.above_zero and loses_more(suspect, other) for suspect in suspects for other in others):
        return "survives"
    if any(suspect.high < FAILS for suspect in suspects) or any(other.above_zero for other in others):
        return "does not survive"
    return "undecided"


def loses_more(a, b):
    """Whether the interval of a - b, two independent differences, lies above 0 (their half widths added in squares)."""
    return a.value - b.value - np.hypot(a.value - a.low, b.high - b.value) > 0
