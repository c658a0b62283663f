"""Tests of the seed paper's claims: each answer in each verdict, from made-up metrics."""
import pytest

from lib.study import claims, statistics
from lib.study.claims import NOT, OPEN, REPRODUCED

SAID = {REPRODUCED, NOT, OPEN}


def study(classifier="mlp", data="made-up images", **metrics):
    return {"config": {"classifier": classifier}, "data": data, "metrics": {
        "verdict": "raise", "gain": 3.21, "gain_low": 1.11, "gain_high": 5.31, "test_images": 1000, "generator": "runs/a",
        "accuracy_real": 44.04, "accuracy_real_sd": 0.55, "accuracy_real_n": 5,
        "accuracy_mixed": 47.25, "accuracy_mixed_sd": 0.66, "accuracy_mixed_n": 10} | metrics}


def naive(low, value, high):
    return {"naive_gain": value, "naive_gain_low": low, "naive_gain_high": high}


def gain(verdict, low, value, high):
    return {"verdict": verdict, "gain": value, "gain_low": low, "gain_high": high}


def generator(agreement=80.0, images=1000, train=None, sample=None):
    return {"train": {"schedule": "cosine", "steps": 4000, "lr": 1e-3, "seed": 0, "run_dir": "a", "device": "cpu"} | (train or {}),
            "sample": {"train_run": "a", "guidance": 2.0, "seed": 0, "run_dir": "b", "device": "cpu"} | (sample or {}),
            "metrics": {"label_agreement": agreement, "images": images}}


def holds(text, *numbers):
    """All numbers stand in the text, in this order."""
    rest = text
    for number in map(str, numbers):
        assert number in rest, (number, text)
        rest = rest.split(number, 1)[1]
    return True


# ---------------------------------------------------------------- all of them
def test_without_any_run_all_is_open_but_the_arithmetic():
    said = claims.answers([], [], [])
    assert [a.verdict for a in said] == [OPEN] * 7 + [REPRODUCED]
    assert len({a.claim for a in said}) == 8 and all(a.claim and a.where and a.here for a in said)
    assert claims.batch_divides() == said[-1] and holds(said[-1].here, "5,000 = 50 batches of 100", "80 leave 40 images")


def test_one_run_of_each_kind_is_answered_without_error():
    said = claims.answers([{"T": 100}], [generator()], [study()])
    assert [a.verdict for a in said] == [REPRODUCED] + [OPEN] * 6 + [REPRODUCED]
    said = claims.answers([{"T": 100}], [generator()], [study("cnn")])
    assert {a.verdict for a in said} <= SAID and said[4].verdict == OPEN


def test_the_answers_stand_in_the_order_of_the_questions():
    said = claims.answers([{"T": 100, "linear_redundant_steps": 30, "cosine_redundant_steps": 5}],
                          [generator(60, train={"schedule": "linear"}), generator(90), generator(90.5, train={"seed": 1}), generator(50, train={"steps": 3000})],
                          [study(**naive(4, 5.1, 6), rate_low=1e-3, rate_high=3e-3, rate_gain=1, rate_gain_low=0.5, rate_gain_high=2),
                           study("cnn", accuracy_mixed=70.0)])
    assert [a.verdict for a in said] == [REPRODUCED] * 8
    for a, words in zip(said, ("raise an MLP", "caused the increase", "200 epochs", "learning rate is raised", "A CNN",
                               "last steps are redundant", "A cosine schedule", "Batches of 100"), strict=True):
        assert words in a.claim


# ---------------------------------------------------------------- the study
@pytest.mark.parametrize("metrics, verdict", [
    (gain("raise", 1.1, 3.2, 5.3), REPRODUCED),
    (gain("raise", 0.1, 0.5, 0.9), REPRODUCED),                      # less than the paper's, but a gain
    (gain("do not clearly change", -1, 0.5, 2), NOT),                # the paper's 2.47 is outside
    (gain("do not clearly change", -1, 1, 3), OPEN),                 # and here inside
    (gain("do not clearly change", -1, 1, 2.47), OPEN),
    (gain("lower", -3, -2, -1), NOT)])
def test_images_help_if_they_raise_the_accuracy_and_not_if_the_papers_gain_is_excluded(metrics, verdict):
    a = claims.images_help([study(**metrics), study(**gain("raise", 5, 6, 7))])              # the first is the main one
    assert a.verdict == verdict
    assert holds(a.here, "44.04 ± 0.55 % (n = 5) without", "47.25 ± 0.66 % (n = 10) with", f"{metrics['gain']:+.2f}",
                 f"({metrics['gain_low']:+.2f} to {metrics['gain_high']:+.2f}) points", "(made-up images).")


@pytest.mark.parametrize("metrics, verdict", [
    (gain("raise", 1.1, 3.2, 5.3), REPRODUCED),
    (gain("do not clearly change", -1, 0.5, 2), NOT),                # equal epochs shows 4
    (gain("lower", -3, -2, -1), NOT),
    (gain("do not clearly change", -1, 2, 4.5), OPEN)])
def test_the_images_caused_what_is_left_at_equal_steps(metrics, verdict):
    a = claims.images_caused_it([study(**metrics, **naive(3.1, 4.0, 4.9))])
    assert a.verdict == verdict
    assert holds(a.here, "+4.00 (+3.10 to +4.90) points", f"{metrics['gain']:+.2f}", f"{metrics['gain_high']:+.2f}) points",
                 f"The rest, {4 - metrics['gain']:+.2f} points")


def test_the_cause_is_open_without_the_papers_comparison_in_the_main_study():
    for studies in ([], [study()], [study(), study(**naive(3, 4, 5))]):
        a = claims.images_caused_it(studies)
        assert a.verdict == OPEN and "main study" in a.here


@pytest.mark.parametrize("low, high, verdict", [(0.2, 1.8, REPRODUCED), (-1.8, -0.2, NOT), (-0.2, 1.8, OPEN), (0, 1, OPEN), (-1, 0, OPEN)])
def test_a_higher_rate_is_judged_by_the_change_of_the_gain(low, high, verdict):
    rates = {"rate_low": 0.001, "rate_high": 0.003, "rate_gain": (low + high) / 2, "rate_gain_low": low, "rate_gain_high": high}
    a = claims.higher_rate([study(**rates), study()])
    assert a.verdict == verdict
    assert holds(a.here, "From 0.001 to 0.003", f"{(low + high) / 2:+.2f} ({low:+.2f} to {high:+.2f}) points")


def test_the_rate_is_open_with_one_rate_in_the_main_study():
    for studies in ([], [study()], [study(), study(rate_gain=1, rate_gain_low=0.5, rate_gain_high=2, rate_low=1, rate_high=2)]):
        a = claims.higher_rate(studies)
        assert a.verdict == OPEN and "more than one learning rate" in a.here


@pytest.mark.parametrize("accuracy, verdict", [(60.0, REPRODUCED), (30.0, NOT), (48.0, OPEN)])
def test_the_cnn_is_compared_with_the_mlp_on_the_same_data(accuracy, verdict):
    cnn = study("cnn", accuracy_mixed=accuracy, accuracy_mixed_sd=0.77, gain=-0.5, gain_low=-1.5, gain_high=0.25)
    for studies in ([study(), cnn], [cnn, study()], [study(), study("cnn", data="other images", accuracy_mixed=1.0), cnn]):
        a = claims.cnn_is_better(studies)
        assert a.verdict == verdict
        assert holds(a.here, "the MLP reaches 47.25 ± 0.66 % (n = 10)", f"the CNN {accuracy:.2f} ± 0.77 % (n = 10)",
                     "+3.21 (+1.11 to +5.31) points to the MLP", "-0.50 (-1.50 to +0.25) points to the CNN")
    _, low, high = statistics.difference_of_proportions((accuracy, 1000), (47.25, 1000))
    assert verdict == (REPRODUCED if low > 0 else NOT if high < 0 else OPEN)


def test_the_number_of_test_images_decides_what_a_difference_says():
    def two(n):
        return [study(test_images=n), study("cnn", accuracy_mixed=49.0, test_images=n)]
    assert claims.cnn_is_better(two(1000)).verdict == OPEN and claims.cnn_is_better(two(100_000)).verdict == REPRODUCED


def test_without_an_mlp_and_a_cnn_on_the_same_data_the_question_is_open():
    for studies in ([study()], [study("cnn")], [study(), study("cnn", data="other images")], [study(), study("strong-mlp")],
                    [study("strong-mlp"), study("cnn")]):
        a = claims.cnn_is_better(studies)
        assert a.verdict == OPEN and "Needs a study with classifier mlp and one with cnn" in a.here


def test_a_later_mlp_on_the_data_of_the_cnn_is_found():
    main, strong = study(data="other images", accuracy_mixed=99.0), study("strong-mlp", accuracy_mixed=98.0)
    a = claims.cnn_is_better([main, strong, study(accuracy_mixed=40.0), study("cnn", accuracy_mixed=70.0)])
    assert a.verdict == REPRODUCED and holds(a.here, "the MLP reaches 40.00", "the CNN 70.00")


# ---------------------------------------------------------------- the generators
@pytest.mark.parametrize("short, long, verdict", [(70.04, 80.06, REPRODUCED), (80.06, 70.04, NOT), (79.5, 80.0, OPEN)])
def test_longer_is_better_if_the_interval_of_the_label_agreement_says_so(short, long, verdict):
    runs = [generator(long, 1200), generator(short, 1000, train={"steps": 3000}), generator(long - 0.5, train={"seed": 1})]
    for generators in (runs, [runs[1], runs[0], runs[2]], [generator(1.0, train={"steps": 2000}), *runs]):
        a = claims.longer_is_better(generators)
        difference, low, high = statistics.difference_of_proportions((long, 1200), (short, 1000))
        assert a.verdict == verdict == (REPRODUCED if low > 0.5 else NOT if high < -0.5 else OPEN)
        assert a.here.endswith("Another seed alone changes it by 0.5 points.")
        assert holds(a.here, f"{short:.1f} % with 3,000 training steps", f"{long:.1f} % with 4,000 training steps",
                     f"{difference:+.2f} ({low:+.2f} to {high:+.2f}) points", "n = 1,000 and 1,200 images")


@pytest.mark.parametrize("linear, cosine, verdict", [(70.0, 80.0, REPRODUCED), (80.0, 70.0, NOT), (79.5, 80.0, OPEN)])
def test_cosine_is_judged_against_linear(linear, cosine, verdict):
    runs = [generator(linear, train={"schedule": "linear"}), generator(cosine), generator(cosine + 1, sample={"seed": 3})]
    for generators in (runs, [runs[1], runs[0], runs[2]]):
        a = claims.cosine_needs_less(generators)
        assert a.verdict == verdict and holds(a.here, f"{linear:.1f} % with linear", f"{cosine:.1f} % with cosine")


@pytest.mark.parametrize("answer, change", [(claims.longer_is_better, {"steps": 3000}), (claims.cosine_needs_less, {"schedule": "linear"})])
def test_generators_that_differ_in_anything_else_are_no_pair(answer, change):
    def other(train=None, sample=None):
        return answer([generator(90.0), generator(91.0, train={"seed": 7}), generator(50.0, train=change | (train or {}), sample=sample)])
    assert other().verdict == REPRODUCED
    assert other(None, {"images_per_class": 3, "batch": 4}).verdict == REPRODUCED
    assert other({"run_dir": "z", "device": "cuda"}, {"run_dir": "y", "train_run": "z", "device": "cuda"}).verdict == REPRODUCED
    for train, sample in (({"lr": 1.0}, None), ({"seed": 1}, None), (None, {"guidance": 1.0}), (None, {"seed": 1}),
                          (None, {"steps": 5}), (None, {"schedule": "x"}), ({"more": 0}, None)):
        a = other(train, sample)
        assert a.verdict == OPEN and a.here.startswith("Needs ")


@pytest.mark.parametrize("again, verdict", [(None, OPEN), (90.5, REPRODUCED), (70.0, OPEN)])
def test_two_networks_decide_nothing_unless_they_differ_by_more_than_another_seed_makes(again, verdict):
    runs = [generator(90.0), generator(80.0, train={"schedule": "linear"})]
    a = claims.cosine_needs_less(runs + [generator(again, train={"seed": 1})] * (again is not None))
    assert a.verdict == verdict
    assert ("not known what chance does" if again is None else f"Another seed alone changes it by {abs(90 - again):.1f} points") in a.here


def test_a_pair_must_fit_and_is_the_first_that_does():
    assert claims.longer_is_better([generator(), generator(train={"steps": 2000})]).verdict == OPEN      # half, not three quarters
    assert claims.cosine_needs_less([generator(), generator(train={"schedule": "sigmoid"})]).verdict == OPEN
    a, b, c = generator(1.0), generator(2.0, train={"steps": 3000}), generator(3.0, train={"steps": 3000})
    pair = claims.pair_of([a, b, c], lambda x, y: x["train"]["steps"] < y["train"]["steps"], "train", "steps")
    assert pair == (b, a) and claims.pair_of([], lambda x, y: True, "train", "steps") is None


# ---------------------------------------------------------------- the schedules
@pytest.mark.parametrize("linear, cosine, verdict", [(213, 20, REPRODUCED), (41, 20, REPRODUCED), (40, 20, NOT), (5, 20, NOT)])
def test_late_steps_are_redundant_if_linear_wastes_more_than_twice_as_many(linear, cosine, verdict):
    m = {"T": 1000, "linear_redundant_steps": linear, "cosine_redundant_steps": cosine}
    a = claims.late_steps_are_redundant([{"T": 10, "linear_redundant_steps": 1}, m])         # a run without cosine is passed by
    assert a.verdict == verdict and holds(a.here, f"In {linear} of 1000 steps", f"in {cosine} under cosine")


def test_late_steps_need_both_schedules():
    for m in ({}, {"linear_redundant_steps": 3}, {"cosine_redundant_steps": 3}):
        a = claims.late_steps_are_redundant([{"T": 10} | m])
        assert a.verdict == OPEN and "linear and cosine" in a.here
