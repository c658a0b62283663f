"""The original paper's claims: each answer in each verdict, from made-up results."""
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.study import claims
from lib.study.claims import FAILS, HOLDS, NOT, OPEN, PART, REPRODUCED
from lib.study.results import Estimate, RateChange


def points(low, value, high):
    return Estimate(value, low, high, 10, "networks", "points", p=0.5, df=9.0)


GAIN, PAPER_GAIN = points(1.1, 3.2, 5.3), points(3.1, 4.0, 4.9)


def study(classifier="mlp", gain=GAIN, paper_gain=PAPER_GAIN, mixed=47.0, rates=None,
          dataset="digits", data="made-up images", optimum_gain=None, steps_gain=None, networks=(), margin=0.5, test_images=10**6):
    accuracy = {"real": 44.0, "real + synthetic": mixed}
    result = SimpleNamespace(
        real_images=500, synthetic_images=1000, test_images=test_images, gain=gain, paper_gain=paper_gain, optimum_gain=optimum_gain, replicates=len(networks),
        networks=pd.DataFrame([networks], ["real + synthetic"]), steps_gain=steps_gain or points(0.1, 0.8, 1.5), rates=rates, margin=margin, arm=lambda name: SimpleNamespace(
            accuracy=Estimate(accuracy[name], accuracy[name] - 1, accuracy[name] + 1, 10, "networks", "%", df=9.0)))
    return SimpleNamespace(config={"classifier": classifier}, result=result, data=data,
                           training=SimpleNamespace(config={"dataset": dataset}))


def generations(agreement, *, coverage=None, train=None, sample=None, count=5, spread=1.0):
    """`count` networks of one setting: label agreement and coverage around the given means."""
    offsets = spread * np.linspace(-1, 1, count)
    for k, offset in enumerate(offsets):
        training = {"schedule": "cosine", "steps": 4000, "lr": 1e-3, "seed": k, "data_seed": k} | (train or {})
        yield SimpleNamespace(
            training=SimpleNamespace(config=training), config={"train_run": f"{train}{k}", "guidance": 2.0, "seed": k} | (sample or {}),
            result=SimpleNamespace(label_agreement=Estimate(agreement + offset),
                                   coverage=(agreement if coverage is None else coverage) + offset))


def runs(schedules=(), generations=(), studies=()):
    return SimpleNamespace(schedules=schedules, generations=tuple(generations), studies=studies)


def test_without_any_run_all_is_open():
    said = claims.answers(runs())
    assert [a.verdict for a in said] == [OPEN] * 7 and all(a.claim and a.where and a.evidence for a in said)


# ---------------------------------------------------------------- the study
@pytest.mark.parametrize("gain, dataset, verdict", [
    (points(0.1, 0.5, 0.9), "digits", REPRODUCED),                   # less than the paper's, but a gain
    (points(-1, 0.5, 2), "cifar10", OPEN),
    (points(-1, 0.1, 1.2), "cifar10", NOT),                          # the paper's gain is excluded, even with its error
    (points(-1, 0.1, 1.2), "digits", OPEN),                          # which says nothing on other images
    (points(-0.3, 0.0, 0.3), "digits", NOT),                         # equivalent to none
])
def test_images_help_if_the_interval_lies_above_0(gain, dataset, verdict):
    a = claims.images_help([study("cnn"), study(gain=gain, dataset=dataset)])
    assert "1,000 synthetic beside 500 real images" in a.evidence
    assert a.verdict == verdict and f"at equal steps: {gain}; at equal epochs, as the paper compared: {PAPER_GAIN} (" in a.evidence
    assert "at equal epochs" not in claims.images_help([study(paper_gain=None)]).evidence


def test_the_margin_of_no_effect_is_the_plans():
    gain = points(-0.9, 0.2, 1.4)
    assert [claims.images_help([study(gain=gain, margin=m)]).verdict for m in (0.5, 2.0)] == [OPEN, NOT]


def test_a_study_of_another_classifier_says_nothing_of_an_mlp():
    assert claims.images_help([study("cnn")]).verdict == OPEN


@pytest.mark.parametrize("gain, verdict", [
    (points(1.1, 3.2, 5.3), PART), (points(-3, -2, -1), FAILS), (points(-0.3, 0.0, 0.3), FAILS),
    (points(-1, 0.5, 2), OPEN)])                                     # also where equal epochs shows more: 4.0 points
def test_the_images_caused_what_is_left_at_equal_steps(gain, verdict):
    a = claims.images_caused_it([study(gain=gain), study()])
    assert a.verdict == verdict
    assert all(str(e) in a.evidence for e in (gain, PAPER_GAIN, points(0.1, 0.8, 1.5)))


def test_the_images_caused_all_of_the_increase_if_the_steps_add_nothing():
    assert claims.images_caused_it([study(gain=points(1, 3, 5), steps_gain=points(-1, 0, 1))]).verdict == HOLDS


def test_without_an_increase_there_is_no_cause():
    a = claims.images_caused_it([study(gain=points(-3, -2, -1), paper_gain=points(-1, 0, 1))])
    assert a.verdict == OPEN and a.evidence.startswith("There is no clear increase to explain.")


def test_the_cause_is_open_without_the_papers_comparison_in_the_main_study():
    assert claims.images_caused_it([study(paper_gain=None), study()]).verdict == OPEN


@pytest.mark.parametrize("change, verdict", [
    (points(0.2, 1, 1.8), REPRODUCED), (points(-1.8, -1, -0.2), NOT), (points(-0.2, 0.8, 1.8), OPEN)])
def test_a_higher_rate_is_judged_by_the_change_of_the_gain(change, verdict):
    a = claims.higher_rate([study(rates=RateChange(0.001, 0.003, 1.0, 2.0, change))])
    assert a.verdict == verdict and f"From 0.001 to 0.003 the gain on validation images changes by {change}" in a.evidence


@pytest.mark.parametrize("mixed, verdict", [(60.0, HOLDS), (30.0, FAILS), (47.5, OPEN)])
def test_the_cnn_is_compared_with_the_mlp_on_the_same_data(mixed, verdict):
    others = [study("cnn", data="other images", mixed=1.0), study("strong-mlp", mixed=2.0)]
    assert claims.cnn_is_better([study(), *others, study("cnn", mixed=mixed)]).verdict == verdict
    assert claims.cnn_is_better([study(), *others]).verdict == OPEN


def test_of_replicates_the_cnn_is_compared_with_the_mlp_of_the_same_replicate():
    """Replicates that differ by far more than the classifiers do."""
    mlp = np.array([40.0, 50, 60, 70, 80])
    both = [study(networks=mlp), study("cnn", networks=mlp + [1.0, 2, 1, 2, 1])]
    assert claims.cnn_is_better(both).verdict == HOLDS
    assert claims.cnn_is_better([both[0], study("cnn", networks=(mlp + 1)[::-1])]).verdict == OPEN


def test_few_test_images_leave_the_difference_of_classifiers_open():
    mlp = np.array([40.0, 50, 60, 70, 80])
    both = [study(networks=mlp, test_images=100), study("cnn", networks=mlp + [1.0, 2, 1, 2, 1], test_images=100)]
    assert claims.cnn_is_better(both).verdict == OPEN


@pytest.mark.parametrize("at_optimum, verdict", [(points(1, 2, 3), PART), (points(-1, 1, 3), OPEN), (points(-3, -2, -1), OPEN)])
def test_images_caused_it_only_if_they_help_at_each_arms_own_optimum_too(at_optimum, verdict):
    a = claims.images_caused_it([study(optimum_gain=at_optimum)])
    assert a.verdict == verdict and str(at_optimum) in a.evidence


# ---------------------------------------------------------------- the generators
@pytest.mark.parametrize("long, verdict", [
    ({"agreement": 85.0}, REPRODUCED), ({"agreement": 75.0}, NOT), ({"agreement": 80.2}, OPEN),
    ({"agreement": 85.0, "coverage": 79.9}, OPEN),                   # label agreement and coverage disagree
    ({"agreement": 85.0, "count": 4}, OPEN)])                        # four networks are not enough
def test_longer_training_is_judged_over_networks_by_agreement_and_coverage(long, verdict):
    short = generations(80.0, train={"steps": 3000})
    assert claims.longer_is_better([*generations(**long), *short]).verdict == verdict


def test_too_few_networks_are_counted():
    a = claims.longer_is_better([*generations(80, train={"steps": 3000}, count=2), *generations(90)])
    assert "Needs 5 networks a side; this plan has 2 with 3,000 training steps and 5 with 4,000 training steps" in a.evidence


def test_two_samplings_of_a_network_count_once():
    twice = [*generations(90), *generations(90)]
    assert claims.longer_is_better([*generations(80, train={"steps": 3000}), *twice]).evidence.count("5 and 5 networks") == 1


@pytest.mark.parametrize("train, sample", [({"lr": 1.0}, {}), ({}, {"guidance": 1.0}), ({}, {"images_per_class": 3})])
def test_sides_that_differ_in_anything_else_are_no_pair(train, sample):
    pair = [*generations(80, train={"steps": 3000} | train, sample=sample), *generations(90)]
    assert claims.longer_is_better(pair).evidence.startswith("Needs two trainings")


@pytest.mark.parametrize("steps, cosine, verdict", [(3000, 85.0, REPRODUCED), (3000, 75.0, NOT), (4000, 85.0, OPEN)])
def test_cosine_needs_less_training_is_asked_at_less_training(steps, cosine, verdict):
    pair = [*generations(cosine, train={"steps": steps}), *generations(80.0, train={"schedule": "linear"})]
    assert claims.cosine_needs_less(pair).verdict == verdict


def test_networks_without_any_spread_are_judged_too():
    pair = [*generations(80, train={"steps": 3000}, spread=0), *generations(90, spread=0)]
    assert claims.longer_is_better(pair).verdict == REPRODUCED


# ---------------------------------------------------------------- the schedules
@pytest.mark.parametrize("linear, verdict", [(41, HOLDS), (40, FAILS)])
def test_late_steps_are_redundant_if_linear_wastes_more_than_twice_as_many(linear, verdict):
    facts = pd.DataFrame({"redundant_steps": [float(linear), 20.0]}, ["linear", "cosine"])
    one, both = (SimpleNamespace(result=SimpleNamespace(T=1000, facts=f)) for f in (facts.head(1), facts))
    a = claims.late_steps_are_redundant([one, both])
    assert a.verdict == verdict and f"In {linear} of 1,000 steps" in a.evidence
    assert claims.late_steps_are_redundant([one]).verdict == OPEN
