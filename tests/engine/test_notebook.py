"""How an interactive page begins: the quick numbers, and the line that says how far it is."""
import json
import types

import pytest
from IPython.core.events import EventManager
from IPython.core.interactiveshell import InteractiveShell

from lib import ROOT
from lib.engine import notebook, parameters
from lib.engine.parameters import QUICK, STEPS, build, defaults
from lib.report.runs import Run

VALUES = {step: defaults(STEPS[step].file) for step in STEPS}


@pytest.fixture(autouse=True)
def no_switch_of_the_project(tmp_path, monkeypatch):
    monkeypatch.setattr(notebook, "ROOT", tmp_path)


def config(step="train", **values):
    return build(STEPS[step].config, VALUES[step] | values)


# ---------------------------------------------------------------- quick
@pytest.mark.parametrize("step", QUICK)
def test_quick_replaces_the_defaults_of_the_notebook(step):
    assert {name: VALUES[step][name] for name in QUICK[step]} == {name: old for name, (old, _) in QUICK[step].items()}
    config(step, **{name: new for name, (_, new) in QUICK[step].items()})                   # accepted


def test_the_switch_stays_until_it_is_switched():
    assert [notebook.quick(), notebook.quick(True), notebook.quick(), notebook.quick(False), notebook.quick()] == [
        False, True, True, False, False]


def test_quick_says_which_values_it_replaced_and_keeps_those_that_somebody_chose(capsys):
    quicker = notebook.quicker("dose", config("dose", shares=[0, 1]), chosen={"real_fractions"})
    assert (quicker.shares, len(quicker.real_fractions), quicker.seeds) == ([0, 1], 5, 2)
    assert capsys.readouterr().out == "quick is on (00_start): seeds = 2 instead of 3\n"


def test_quick_keeps_the_training_and_the_images():
    assert not {"steps", "images_per_class", "sample_steps", "ratios"} & {name for values in QUICK.values() for name in values}


def test_a_page_says_what_was_made_with_quick(tmp_path, capsys):
    for plan, values in (("interactive", {"seeds": 2}), ("interactive", {"seeds": 3}), ("digits", {"seeds": 2})):
        run = Run(tmp_path / plan / "dose" / "default")
        run.folder.mkdir(parents=True, exist_ok=True)
        run.path("config.json").write_text(json.dumps(values))
        notebook.say_if_quick(run)
    assert capsys.readouterr().out == "made with quick: interactive/dose/default (seeds = 2)\n"


def begun(monkeypatch, run_dir):
    """The parameters with which the training's notebook begins."""
    kept = []
    monkeypatch.setattr(notebook.runs, "start", lambda step, config, *_: kept.append(config))
    monkeypatch.setenv("DREAMING_RUN_DIR", run_dir)
    notebook.begin("train", VALUES["train"] | {"run_dir": run_dir})
    return kept[0]


@pytest.mark.parametrize("run_dir, images", [("", 20), ("reports/runs/tiny/train/default", 100),
                                             ("reports/runs/interactive/train/mine", 100)])
def test_quick_is_for_the_interactive_default_run_only(monkeypatch, run_dir, images):
    notebook.quick(True)
    assert begun(monkeypatch, run_dir).bound_images == images
    notebook.quick(False)
    assert begun(monkeypatch, run_dir).bound_images == 100


# ---------------------------------------------------------------- how far a page is
class Shell:
    """Of IPython, what `follow` uses. id: of the cell that a front end says it runs."""

    def __init__(self, cell):
        self.events, self.cell = EventManager(self, {"pre_run_cell": None, "post_run_cell": None}), cell

    def get_parent(self):
        return {"metadata": {"cellId": self.cell} if self.cell else {}}

    def run(self, cell, success=True):
        info = types.SimpleNamespace(cell_id=cell)
        self.events.trigger("pre_run_cell", info)
        self.events.trigger("post_run_cell", types.SimpleNamespace(info=info, success=success))


@pytest.fixture
def shown(monkeypatch):
    lines = []
    monkeypatch.setattr(notebook.runs, "Line", lambda: types.SimpleNamespace(show=lines.append))
    monkeypatch.setattr(notebook, "followed", {})
    return lines


def test_a_page_says_which_section_runs_and_where_it_stopped(shown, monkeypatch):
    shell = Shell("c02")
    monkeypatch.setattr(notebook, "get_ipython", lambda: shell)
    notebook.follow("train")
    notebook.follow("train")                                        # its first cell is run again: still one line a cell
    shell.run("c02", success=False)                                 # a wrong value in the first cell
    assert shown[-1] == "before the first section: stopped by an error"
    shell.run("c11")
    shell.run("c16", success=False)
    shell.run("c22")
    cells = json.loads(STEPS["train"].file.read_text())["cells"]
    names = [line[3:].strip() for c in cells if c["cell_type"] == "markdown" for line in c["source"] if line.startswith("## ")]
    number, n = names.index("Bits per dimension") + 1, len(names)
    assert f"section {number - 1} of {n}: Training ..." in shown
    assert f"section {number} of {n}: Bits per dimension: stopped by an error" in shown
    assert shown[-1] == f"all {n} sections have run" and len(shown) == len(set(shown)) + 1      # "beginning" twice


@pytest.mark.parametrize("shell", [None, Shell("")])
def test_where_no_front_end_names_its_cells_no_line_is_shown(shown, monkeypatch, shell):
    monkeypatch.setattr(notebook, "get_ipython", lambda: shell)
    notebook.follow("train")
    assert not shown


# ---------------------------------------------------------------- errors in one sentence
def test_an_interrupt_and_a_missing_file_are_one_sentence(tmp_path):
    run = Run(tmp_path / "interactive" / "train" / "default")
    run.folder.mkdir(parents=True)
    said = [notebook.plain_sentence(error, run) for error in (
        KeyboardInterrupt(), FileNotFoundError(2, "no", str(run.path("history.csv"))), FileNotFoundError(2, "no", "/elsewhere"))]
    assert said == ["Interrupted: run this cell again to go on.", "history.csv is not there yet: the cell above that writes it "
                    "has not finished; run that one first.", ""]
    run.folder.rmdir()
    assert "interactive/train/default is gone" in notebook.plain_sentence(OSError("I/O error"), run)


def test_in_a_kernel_the_sentence_stands_alone_and_other_errors_keep_their_traceback(tmp_path, monkeypatch):
    shell, shown = InteractiveShell(), []
    monkeypatch.setattr(notebook, "get_ipython", lambda: shell)
    monkeypatch.setattr(notebook, "in_jupyterlab", lambda shell: True)
    monkeypatch.setattr(shell, "_showtraceback", lambda kind, error, lines: shown.append("\n".join(lines)))
    notebook.speak_plainly(Run(tmp_path))
    shell.run_cell("raise KeyboardInterrupt")
    shell.run_cell("open('/nowhere/at/all')")
    assert shown[0] == "Interrupted: run this cell again to go on." and "Traceback" in shown[1]


# ---------------------------------------------------------------- the pages
def test_the_first_page_has_the_map_of_the_readme():
    start, readme = ((ROOT / "notebooks" / name).read_text(encoding="utf-8") for name in ("00_start.ipynb", "README.md"))
    text = "".join(line for c in json.loads(start)["cells"] for line in c["source"])
    rows = [line for line in readme.splitlines() if line.startswith("| [") and "00_start" not in line]
    assert len(rows) == len(STEPS) and all(row in text for row in rows)


@pytest.mark.parametrize("step", [step for step in STEPS if step != "report"])
def test_a_page_tells_its_time_and_ends_with_a_question_and_the_next_page(step):
    cells = parameters.cells(STEPS[step].file)
    assert any(word in cells[0].source for word in ("minute", "second"))
    last = cells[-1].source
    assert "**Predict, then run.**" in last and "<details><summary>Answer</summary>" in last and "**Next" in last


def test_a_wrong_value_is_one_line_in_a_notebook_and_any_other_error_keeps_its_calls():
    from IPython.core.interactiveshell import InteractiveShell
    shell, shown = InteractiveShell(), []
    shell._showtraceback = lambda kind, value, lines: shown.append(lines)
    shell.run_cell("from lib import InputError\ndef f(): raise InputError('steps=-5: expected 1 or more')\nf()")
    shell.run_cell("def g(): 1 / 0\ng()")
    assert shown[0] == ["InputError: steps=-5: expected 1 or more"] and len("\n".join(shown[1]).splitlines()) > 5
