"""The original paper's claims: each answer in each verdict, from made-up results."""
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.study import claims
from lib.study.claims import FAILS, HOLDS, NOT, OPEN, PART, REPRODUCED
from lib.study.results import Estimate


def points(low, value, high):
    return Estimate(value, low, high, 10, "networks", "points", p=0.5, df=9.0)


GAIN, PAPER_GAIN = points(1.1, 3.2, 5.3), points(3.1, 4.0, 4.9)


def study(classifier="mlp", gain=GAIN, paper_gain=PAPER_GAIN, dataset="digits", data="made-up images", optimum_gain=None,
          steps_gain=None, margin=0.5, synthetic=1000, epochs=5):
    result = SimpleNamespace(synthetic_images=synthetic, gain=gain, paper_gain=paper_gain, optimum_gain=optimum_gain,
                             headline=optimum_gain or gain, steps_gain=steps_gain or points(0.1, 0.8, 1.5),
                             margin=margin)
    training = SimpleNamespace(config={"dataset": dataset}, result=SimpleNamespace(epochs=epochs))
    return SimpleNamespace(config={"classifier": classifier}, result=result, data=data, training=training, label=classifier)


def generations(agreement, *, coverage=None, train=None, sample=None, count=5, spread=1.0):
    """`count` networks of one setting: label agreement and coverage around the given means."""
    for k, offset in enumerate(spread * np.linspace(-1, 1, count)):
        training = {"schedule": "cosine", "steps": 4000, "lr": 1e-3, "seed": k, "data_seed": k} | (train or {})
        yield SimpleNamespace(
            label=f"{train}{k}", training=SimpleNamespace(config=training),
            config={"train_run": f"{train}{k}", "guidance": 2.0, "seed": k} | (sample or {}),
            result=SimpleNamespace(label_agreement=Estimate(agreement + offset),
                                   coverage=(agreement if coverage is None else coverage) + offset))


def test_claims_that_a_plan_does_not_touch_have_no_answer():
    assert claims.answers(SimpleNamespace(schedules=(), generations=(), studies=())) == ()
    found = claims.answers(SimpleNamespace(schedules=(), generations=(), studies=[study()]))
    assert [a.study for a in found] == ["mlp", "mlp"]


# ---------------------------------------------------------------- the study
FULL = {"dataset": "cifar10", "synthetic": 50_000, "epochs": 200}


@pytest.mark.parametrize("gain, numbers, verdict", [
    (points(0.1, 0.5, 0.9), {}, REPRODUCED),                            # less than the paper's, but a gain
    (points(-1, 0.1, 1.2), FULL, NOT),                                  # the paper's gain is excluded, with its error
    (points(-1, 0.5, 2), FULL, OPEN),
    (points(-1, 0.1, 1.2), FULL | {"synthetic": 10_000}, OPEN),         # not tried at the paper's numbers
    (points(-1, 0.1, 1.2), FULL | {"epochs": 5}, OPEN),
    (points(-1, 0.1, 1.2), FULL | {"dataset": "digits"}, OPEN)])
def test_images_help_if_the_interval_lies_above_0_and_fail_at_the_papers_numbers_only(gain, numbers, verdict):
    answer = claims.images_help([study("cnn"), study(gain=gain, **numbers)])
    assert (answer.verdict, answer.number) == (verdict, gain)
    assert claims.images_help([study("cnn")]) is None


@pytest.mark.parametrize("options, verdict", [
    ({}, PART), ({"gain": points(-3, -2, -1)}, FAILS), ({"gain": points(-0.3, 0.0, 0.3)}, FAILS),
    ({"gain": points(-1, 0.5, 2)}, OPEN),                               # also where equal epochs shows more: 4.0 points
    ({"gain": points(1, 3, 5), "steps_gain": points(-1, 0, 1)}, HOLDS),
    ({"gain": points(-3, -2, -1), "paper_gain": points(-1, 0, 1)}, OPEN),      # without an increase there is no cause
    ({"optimum_gain": points(1, 2, 3)}, PART), ({"optimum_gain": points(-1, 1, 3)}, OPEN),
    ({"optimum_gain": points(-3, -2, -1)}, OPEN)])
def test_the_images_caused_what_is_left_at_equal_steps_and_at_each_arms_optimum(options, verdict):
    assert claims.images_caused_it([study(**options), study()]).verdict == verdict


def test_without_the_papers_comparison_its_cause_is_no_question():
    assert claims.images_caused_it([study(paper_gain=None), study()]) is None


def test_the_margin_of_no_effect_is_the_plans():
    gain = points(-0.9, 0.2, 1.4)
    assert [claims.images_caused_it([study(gain=gain, margin=m)]).verdict for m in (0.5, 2.0)] == [OPEN, FAILS]


@pytest.mark.parametrize("gain, verdict", [(points(5, 9, 13), HOLDS), (points(-9, -5, -1), FAILS), (GAIN, OPEN)])
def test_a_claim_about_the_cnn_is_one_about_its_gain_on_the_same_data_each_at_its_best(gain, verdict):
    others, mlp = [study("cnn", data="other images"), study("strong-mlp")], study(optimum_gain=GAIN)
    answer = claims.cnn_gains_more([mlp, *others, study("cnn", optimum_gain=gain)])
    assert answer.verdict == verdict and answer.number.value == pytest.approx(gain.value - GAIN.value)
    unfinished = claims.cnn_gains_more([mlp, study("cnn", gain=gain)])
    assert unfinished.verdict == OPEN and unfinished.number.value == pytest.approx(gain.value - GAIN.value)
    assert claims.cnn_gains_more([mlp, *others]) is None


def test_the_headline_decides_whether_images_help():
    answer = claims.images_help([study(gain=points(-1, -0.6, -0.1), optimum_gain=GAIN)])
    assert (answer.verdict, answer.number, answer.what) == (REPRODUCED, GAIN, "each at its best")


# ---------------------------------------------------------------- the generators
@pytest.mark.parametrize("long, verdict", [
    ({"agreement": 85.0}, REPRODUCED), ({"agreement": 75.0}, NOT), ({"agreement": 80.2}, OPEN),
    ({"agreement": 85.0, "coverage": 79.9}, OPEN),                      # label agreement and coverage disagree
    ({"agreement": 85.0, "count": 4}, OPEN),                            # four networks are not enough
    ({"agreement": 90.0, "spread": 0}, OPEN)])
def test_longer_training_is_judged_over_networks_by_agreement_and_coverage(long, verdict):
    short = generations(80.0, train={"steps": 3000}, spread=long.get("spread", 1))
    assert claims.longer_is_better([*generations(**long), *short]).verdict == verdict


def test_two_samplings_of_a_network_count_once():
    twice = [*generations(90, count=3), *generations(90, count=3)]
    assert claims.longer_is_better([*generations(80, train={"steps": 3000}), *twice]).verdict == OPEN


@pytest.mark.parametrize("train, sample", [({"lr": 1.0}, {}), ({}, {"guidance": 1.0}), ({}, {"images_per_class": 3})])
def test_sides_that_differ_in_anything_else_are_no_pair(train, sample):
    pair = [*generations(80, train={"steps": 3000} | train, sample=sample), *generations(90)]
    assert claims.longer_is_better(pair) is None


@pytest.mark.parametrize("cosine, verdict", [(85.0, REPRODUCED), (75.0, NOT)])
def test_cosine_needs_less_training_is_asked_at_less_training(cosine, verdict):
    linear = {"schedule": "linear"}
    pair = [*generations(cosine, train={"steps": 3000}), *generations(80.0, train=linear)]
    assert claims.cosine_needs_less(pair).verdict == verdict
    assert claims.cosine_needs_less([*generations(cosine), *generations(80.0, train=linear)]) is None


# ---------------------------------------------------------------- the schedules
@pytest.mark.parametrize("linear, verdict", [(41, HOLDS), (40, FAILS)])
def test_late_steps_are_redundant_if_linear_wastes_more_than_twice_as_many(linear, verdict):
    facts = pd.DataFrame({"redundant_steps": [float(linear), 20.0]}, ["linear", "cosine"])
    one, both = (SimpleNamespace(label="s", result=SimpleNamespace(T=1000, facts=f)) for f in (facts.head(1), facts))
    answer = claims.late_steps_are_redundant([one, both])
    assert answer.verdict == verdict and answer.number.startswith(f"{linear} of 1,000 steps")
    assert claims.late_steps_are_redundant([one]) is None
