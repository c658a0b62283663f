"""Results of studies, doses and ablations in sentences."""
import dataclasses

import pytest
from test_tables_study import OPTIMUM, ablation, dose, points, study

from lib.report import sentences
from lib.study.results import RateChange


@pytest.mark.parametrize("gain, words", [
    (points(11.6), "synthetic images **raise** the test accuracy of the MLP: +11.6 points (+10.6 to +12.6), p = 0.032."),
    (points(-3.0), "synthetic images **lower** the test accuracy"),
    (points(0.5), "synthetic images **do not clearly change** the test accuracy")])
def test_the_interval_alone_decides_what_is_said_of_a_gain(gain, words):
    assert words in sentences.study(study(gain=gain))


def test_the_papers_comparison_is_told_where_it_was_made():
    said = sentences.study(study())
    assert "at equal epochs, would have shown +13.0 points (+12.0 to +14.0); of that, the additional steps alone make +1.4" in said
    assert "epochs" not in sentences.study(study(paper_gain=None, steps_gain=None))


def test_an_interval_of_one_generator_says_so():
    assert "2 generators, 5 seeds and 898 test images" in sentences.study_method(study())
    assert "they speak of that generator and of no other" in sentences.study_method(study(generators=1))


def test_replicates_are_told_with_those_that_are_missing():
    assert "over 10 replicates, each with a split, a generator" in sentences.study_method(study(replicates=10, planned=10))
    assert "over 9 of 10 replicates" in sentences.study_method(study(replicates=9, planned=10))
    assert "9 of 10 replicates, each with its own generator" in sentences.dose(dataclasses.replace(dose(), replicates=9, planned=10))


def test_few_replicates_give_no_general_verdict():
    assert "no general verdict" in sentences.study(study(replicates=4, planned=4))
    assert "no general verdict" not in sentences.study(study(replicates=5, planned=5))


def test_no_effect_is_said_only_within_the_margin_that_was_set_beforehand():
    assert "That is none: it lies within the margin of 0.5 points that was set beforehand (p = 0.03)" in sentences.study(
        study(gain=points(0.1), equivalence=0.03))
    assert "none" not in sentences.study(study(gain=points(0.1), equivalence=0.2))


def test_the_gain_at_each_arms_own_optimum_is_told_where_it_was_asked():
    assert "own optimum, the gain is +4.0 points (+3.0 to +5.0)" in sentences.study(study(optimum=OPTIMUM))
    assert "own optimum" not in sentences.study(study())


def test_a_change_of_the_gain_is_told_with_both_rates():
    rates = RateChange(0.001, 0.003, -0.5, 1.5, points(2.0))
    assert sentences.rates(rates) == (
        "At a learning rate of 0.001 the synthetic images add −0.5 points on validation images, at 0.003 +1.5: a change "
        "of +2.0 points (+1.0 to +3.0).")
    assert sentences.rates(None) == ""


def test_a_dose_tells_its_exchange_rates_and_that_it_is_exploratory():
    said = sentences.dose(dose())
    assert "450 synthetic images alone are as good as 142 (90 to 180) real ones" in said
    assert "1,000 synthetic images alone are as good as more than 500 real ones" in said and "exploratory" in said


def test_the_limit_is_told_by_its_verdict_with_every_walk():
    said = sentences.limit(ablation())
    assert said.startswith("The hypothesis survives: clipping adds +70.0 points (+65.0 to +75.0) of label agreement to cosine")
    assert "to linear with eps 0.0 (−5.0 to +5.0), 1.93 times" in said and "to cosine with v" in said
    assert sentences.limit(ablation("")) == ""
