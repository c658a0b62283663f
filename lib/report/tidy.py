"""The numbers of several plans as one tidy table: a row for each measured quantity of each run."""
import dataclasses

import pandas as pd

from lib.report.results import Estimate

COLUMNS = ("plan", "step", "run")
NUMBERS = ("quantity", "value", "low", "high", "n", "unit", "p")
PLACES = ("run_dir", "train_run", "generate_runs", "oracle_runs", "data_dir", "synthetic_dir", "device", "missing",
          "runs", "plan", "title", "about")


def tidy(collections):
    """A DataFrame: plan, step, run; a column STEP.PARAMETER for each parameter in which the runs differ, of the run
    itself and of those behind it; quantity, value, low, high (95 % interval), n, unit, p. collections: Collected."""
    rows = []
    for collected in collections:
        for step in collected.steps:
            known = parameters(step)
            rows += [known | {"plan": collected.plan, "step": step.name.split("/")[0], "run": step.label} | numbers
                     for numbers in quantities(step)]
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*COLUMNS, *(key for row in rows for key in row), *NUMBERS])))
    alike = [name for name in table if name not in (*COLUMNS, *NUMBERS) and table[name].dropna().nunique() < 2]
    others = [name for name in table if name not in (*COLUMNS, *NUMBERS, *alike)]
    return table[[*COLUMNS, *others, *NUMBERS]]


def parameters(step):
    """{STEP.PARAMETER: its value} of a collected.Step and of those that it came from; a list is text."""
    own = {f"{step.name.split('/')[0]}.{name}": value if isinstance(value, bool | int | float | str) else str(value)
           for name, value in step.config.items() if name not in PLACES}
    return (parameters(step.source) if step.source else {}) | own


def quantities(step):
    """The numbers of a step's result, and of a study the macro recall of each arm."""
    found = list(of_result(step.result))
    for arm in getattr(step.result, "arms", ()):
        if recall := step.macro(arm.arm):
            found.append(of_estimate(f"macro recall: {arm.arm}", recall))
    return found


def of_result(result, about=""):
    """A mapping for each number and Estimate of a dataclass; those of a list are named by its members' texts."""
    for field in dataclasses.fields(result):
        value, name = getattr(result, field.name), field.name.replace("_", " ") + about
        if isinstance(value, Estimate):
            yield of_estimate(name, value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield {"quantity": name, "value": value}
        elif field.name == "curves":
            for point in value.to_dict("records"):
                yield {"quantity": f"accuracy at {point['x']:g}: {point['curve']}", "value": point["accuracy"],
                       "low": point["low"], "high": point["high"], "n": point["n"], "unit": "%"}
        elif dataclasses.is_dataclass(value):
            yield from of_result(value, f" ({field.name.replace('_', ' ')})")
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for one in value:
                words = [text for f in dataclasses.fields(one) if isinstance(text := getattr(one, f.name), str)]
                own = "" if field.name == "arms" else f" ({field.name.replace('_', ' ')})"
                joined = (" against " if hasattr(one, "against") else ", ").join(words)
                yield from of_result(one, f": {joined or getattr(one, 'synthetic', '')}{own}")


def of_estimate(name, e):
    return {"quantity": name, "value": e.value, "low": e.low, "high": e.high, "n": e.n, "unit": e.unit, "p": e.p}
