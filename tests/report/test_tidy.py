"""One table of the numbers of several plans."""
import io

import pandas as pd
from made_up import SAMPLE, STUDY, TRAIN, dose, generation, study, training

from lib.report.collected import Collected, Step
from lib.report.tidy import tidy


def test_a_row_is_a_number_with_the_parameters_in_which_the_runs_differ():
    source = Step("train/a", TRAIN, training())
    made = [Step(f"generate/g-{g}", SAMPLE | {"guidance": g, "run_dir": f"{g}"}, generation(agreement=90 + g), source) for g in (1.0, 2.0)]
    studies = [Step(f"augment/{one.label}", STUDY | {"widths": [8]}, study(), one) for one in made]
    text = tidy([Collected((source, *made, *studies), plan="p"), Collected((source,), plan="q")]).to_csv(index=False)
    table = pd.read_csv(io.StringIO(text))
    assert list(table.columns) == ["plan", "step", "run", "generate.guidance", "quantity", "value", "low", "high", "n", "unit", "p"]
    agreement = table[table["quantity"] == "label agreement"]
    assert agreement["value"].tolist() == [91, 92] and agreement["generate.guidance"].tolist() == [1, 2] and set(agreement["unit"]) == {"%"}
    gains = table[table["quantity"] == "gain: real + synthetic"]
    assert gains["generate.guidance"].tolist() == [1, 2] and gains["low"].tolist() == [study().arm("real + synthetic").gain.low] * 2
    assert {"share (memorisation)", "frechet", "accuracy: real", "paper gain", "difference: real + shift against real + synthetic (contrasts)"} <= set(table["quantity"])
    assert set(table["plan"]) == {"p", "q"} and table[["value", "quantity"]].notna().all().all()
    assert not table.duplicated(["plan", "step", "run", "quantity"]).any()


def test_a_dose_has_a_row_for_each_point_of_its_curves():
    table = tidy([Collected((Step("dose/mlp", {}, dose()),), plan="p")])
    points = table[table["quantity"].str.startswith("accuracy at ")].reset_index(drop=True)
    curves = dose().curves.reset_index(drop=True)
    assert points["value"].tolist() == curves["accuracy"].tolist() and points["n"].tolist() == curves["n"].tolist()
    assert points["quantity"].tolist() == [f"accuracy at {x:g}: {c}" for c, x in zip(curves["curve"], curves["x"], strict=True)]
    assert points["quantity"].is_unique and set(points["unit"]) == {"%"}
