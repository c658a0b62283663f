"""Results of studies, doses and ablations as tables."""
from types import SimpleNamespace

import pandas as pd
import pytest

from lib.report import tables
from lib.study.results import (
    Ablation,
    ArmResult,
    AtOptimum,
    Contrast,
    Dose,
    Estimate,
    Exchange,
    Study,
    Walk,
)


def percent(value, half=1.0, n=10):
    return Estimate(value, value - half, value + half, n, "networks", "%", df=9.0)


def points(value, half=1.0, p=0.0321):
    return Estimate(value, value - half, value + half, 10, "networks", "points", p=p, df=9.0)


def study(**changed):
    arms = (ArmResult("real", 1000, percent(58.13), 0.4, 59.0),
            ArmResult("real + synthetic", 1000, percent(69.7), 0.36, 70.0, points(11.6)))
    given = {
        "classifier": "MLP", "arms": arms, "gain": points(11.6), "paper_gain": points(13.0), "steps_gain": points(1.4),
        "rival": "real + shift", "contrasts": (Contrast("real + shift", "real + synthetic", points(-2.04), 0.0004),),
        "detectable": 1.5, "variance": pd.DataFrame({"n": [5, 898], "variance": [0.04, 0.16]}, ["seeds", "test images"]),
        "lr": 0.003, "setting": "guidance 2.0", "generators": 2, "generator": "a", "seeds": 5, "real_images": 500,
        "synthetic_images": 1000, "validation_images": 179, "test_images": 898, "filter_share": 0.5, "rates": None,
        "choices": pd.DataFrame({"choice": ["generator"], "taken": ["a"], "candidates": ["a: 70.0"]}),
        "by_class": pd.DataFrame({"change of recall": [1.0], "p": [0.1], "label_agreement": [90.0], "coverage": [60.0],
                                  "coverage_perfect": [80.0]}, ["0"]),
        "confusion": pd.DataFrame()}
    return Study(**given | changed)


OPTIMUM = (AtOptimum("real", 5000, 0.001, True, percent(66.0)),
           AtOptimum("real + synthetic", 1000, 0.003, False, percent(70.0), points(4.0)))


def dose():
    real = Estimate(142.4, 90.2, 180.0, 3, "seeds", "images")
    curves = pd.DataFrame({"curve": ["without", "without"], "x": [18.0, 500.0]})
    return Dose("MLP", 500, 1000, 898, 3, 1000, 0.5, curves, (
        Exchange(50, percent(30), Estimate(18.0, 18.0, 20.0, 3, "seeds", "images"), Estimate(2.8)),
        Exchange(450, percent(60), real, Estimate(3.16, 2.5, 5.0)), Exchange(1000, percent(70), None, None)))


def ablation(limit="survives"):
    def walk(schedule, target, free):
        return Walk(schedule, target, "ancestral", 50, percent(free), percent(90), Estimate(90.0 - free, 85.0 - free, 95.0 - free, 200, "images", "points"), 1.93, 1.02)
    return Ablation(4, 8, 0, (walk("cosine", "eps", 20.0), walk("linear", "eps", 90.0), walk("cosine", "v", 91.0)), limit)


def test_an_arm_stands_with_its_interval_and_real_has_no_gain():
    real, mixed = tables.arms(study()).to_dict("records")
    assert mixed == {"arm": "real + synthetic", "steps": "1,000", "test accuracy, %": "69.7 (68.7 to 70.7)", "sd": "0.36",
                     "networks": "10", "against real, points": "+11.6 (+10.6 to +12.6)"}
    assert real["against real, points"] == "" and real["sd"] == "0.40"


def test_the_secondary_questions_have_a_p_value_and_a_missing_one_is_told():
    missing = Contrast("real + shift + synthetic", "real + shift", None, None)
    first, second = tables.contrasts(study(contrasts=(*study().contrasts, missing))).to_dict("records")
    assert first == {"question": "real + shift against real + synthetic", "difference, points": "−2.0 (−3.0 to −1.0)", "p after Holm": "< 0.001"}
    assert (second["difference, points"], second["p after Holm"]) == ("not asked: an arm is missing", "")


def test_the_gain_is_compared_in_every_way_that_was_asked_the_headline_first():
    rows = tables.gains(study(optimum=OPTIMUM, presentation_gain=points(12.0), displacement=points(-0.4)))
    assert rows["compared at"].tolist() == [
        "each arm at its own optimum", "equal updates", "equal presentations of real images",
        "real images fewer, nothing in their place", "equal epochs, as in the original paper", "more updates alone"]
    assert rows["difference, points"].tolist()[:2] == ["+4.0 (+3.0 to +5.0)", "+11.6 (+10.6 to +12.6)"] and rows["p"][1] == "0.032"
    assert len(tables.gains(study(paper_gain=None, steps_gain=None))) == 1


def test_an_optimum_at_the_edge_of_what_was_tried_says_so():
    assert tables.optimum(study(optimum=OPTIMUM))["at the edge of the steps tried"].tolist() == ["yes", "no"]
    assert len(tables.optimum(study())) == 0


def test_the_parts_of_the_variance_are_shown_as_standard_errors():
    assert tables.variance(study())["standard error from it, points"].tolist() == ["0.20", "0.40"]


def test_a_number_of_images_that_is_worth_less_or_more_than_was_tried_says_so():
    assert tables.exchange(dose())["as good as so many real ones"].tolist() == ["at most 18", "142 (90 to 180)", "more than 500"]


def test_a_training_shows_what_sets_it_apart():
    result = SimpleNamespace(bits=Estimate(2.5, 2.4, 2.6, 100, "images", "bits/dim"), parameters=230_000, images=32_000,
                             loss=0.12345, seconds=30.4)
    config = {"dataset": "digits", "schedule": "cosine", "channel_mult": [1, 2]}
    config |= {name: 0 for name in tables.VARIED if name not in config}
    table = tables.trained({"a": (config, result), "b": (config | {"schedule": "linear", "seed": 1}, result)})
    assert list(table)[:4] == ["run", "schedule", "seed", "bits/dim"]
    assert table["bits/dim"].tolist() == ["2.50 (2.40 to 2.60)"] * 2


@pytest.mark.parametrize("name", ["studies", "walks", "by_class"])
def test_tables_of_several_results_have_a_row_for_each(name):
    given = {"studies": {"a": study(), "b": study(paper_gain=None)}, "walks": ablation(), "by_class": study()}[name]
    assert len(getattr(tables, name)(given)) == {"studies": 2, "walks": 3, "by_class": 1}[name]


def test_each_generator_has_a_row_with_its_distance_and_holms_p_over_all_of_them_and_further_real_images_one():
    import made_up

    table = tables.generators(made_up.collected(made_up.steps(made_up.scarce())).with_generator_gains)
    assert table["study"].tolist() == ["few"] * 4 + ["many"] * 2 and table["real images"].unique().tolist() == ["100", "4,500"]
    assert table["gain, points"].str.partition(" ")[0].tolist() == ["\N{MINUS SIGN}0.4", "+0.8", "+12.5", "+5.2", "\N{MINUS SIGN}2.6", "\N{MINUS SIGN}1.9"]
    assert table["distance, times real to real"].tolist() == ["60.0", "40.0", "30.0", "1.0", "55.0", "35.0"]
    assert table["p after Holm"].iloc[2] == "0.002" and table["p after Holm"].iloc[3] == ""     # 0.0004 times five


def test_the_figure_of_generators_has_a_filled_marker_where_the_interval_leaves_out_0_and_a_dot_for_each_repetition():
    import made_up
    import matplotlib.pyplot as plt

    from lib.report import drawings, plain
    collected = made_up.collected(made_up.steps(made_up.scarce()))
    drawn = drawings.draw_generators(collected)
    (ax,) = drawn.figure.axes
    big = {(float(line.get_xdata()[0]), float(line.get_ydata()[0])): line for line in ax.lines if line.get_markersize() == 8}
    assert set(big) == {(60, -0.4), (40, 0.8), (30, 12.5), (55, -2.6), (35, -1.9)}
    assert {place: line.get_markerfacecolor() == "white" for place, line in big.items()} == {
        (60, -0.4): True, (40, 0.8): True, (30, 12.5): False, (55, -2.6): False, (35, -1.9): False}
    assert big[30, 12.5].get_marker() == "D" and big[40, 0.8].get_marker() == "o"
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_markersize() == 3) == 15
    assert {text.get_text() for text in ax.texts} == {"100", "300", "1.2k"}
    assert [text.get_text() for text in drawn.figure.legends[0].texts] == [
        "100 real images", "4,500 real images", "learned from these images", "learned from more images", "further real images"]
    plt.close(drawn.figure)
    assert plain.generators(collected) and not plain.generators(made_up.full())
