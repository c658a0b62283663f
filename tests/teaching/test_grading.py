"""Grading a class: everybody gets what a fair teacher would give, nobody wins by force, and nobody stops the others."""
import contextlib
import csv
import io
import time

import nbformat
import psutil
import pytest
from classroom import MISTAKES, POINTS, RIGHT, SOURCE, fill, honest, hostile, malformed, with_cell
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lib import InputError
from lib.teaching import grading, handouts, runner

pytest.importorskip("nbgrader")
LOST = dict.fromkeys(POINTS, 0)


@pytest.fixture(scope="module")
def blank():
    return handouts.student(handouts.read(SOURCE))


class Class:
    """A graded class: rows by name and exercise, what was printed, and how long it took."""

    def __init__(self, folder, files, **options):
        self.folder, printed, start = folder, io.StringIO(), time.monotonic()
        with contextlib.redirect_stdout(printed):
            self.all = grading.grade_all(SOURCE, files, folder / "out", **options)
        self.seconds, self.printed = time.monotonic() - start, printed.getvalue()
        self.rows = {}
        for row in self.all:
            self.rows.setdefault(row.name, {})[row.exercise] = row

    def points(self, name):
        return {exercise: row.points for exercise, row in self.rows[name].items() if exercise in POINTS}

    def remarks(self, name):
        return "; ".join(row.remark for row in self.rows[name].values() if row.remark and (row.exercise in POINTS or row.trouble))

    def trouble(self, name):
        return any(row.trouble for row in self.rows[name].values())

    def page(self, name):
        return (self.folder / "out" / "feedback" / f"{name}.html").read_text(encoding="utf-8")


def hand_in(folder, submissions):
    """Write notebooks and bytes as files; their paths."""
    files = []
    for name, content in submissions.items():
        files.append(folder / f"{name}.ipynb")
        files[-1].write_bytes(content if isinstance(content, bytes) else nbformat.writes(content).encode())
    return files


# ---------------------------------------------------------------- three students, in seconds
@pytest.fixture(scope="module")
def three(blank, tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    cheat = with_cell(fill(blank, MISTAKES["root forgotten"][0]), "np.allclose = lambda *a, **k: True", 3)
    files = hand_in(folder, {"=right\tone\n2": fill(blank, RIGHT), "cheat": cheat, "broken": b"{"})
    return Class(folder, files)


def test_right_answers_get_full_points_and_a_person_reads_the_rest(three):
    rows = three.rows["=right one 2"]
    assert three.points("=right one 2") == POINTS
    assert [rows[f"question-{n}"].points for n in range(1, 6)] == [0] * 5 and rows["question-1"].remark == "not answered"


def test_who_patches_the_comparison_fails_with_the_sentence_of_the_test(three):
    assert three.points("cheat") == POINTS | {"q-sample": 0}
    assert three.remarks("cheat") == "at t = 0 the image must be multiplied by 0.8 and the noise by 0.6"


def test_a_broken_file_has_a_remark_and_no_points(three):
    assert set(three.points("broken").values()) == {None} and three.trouble("broken")
    assert "the file is not a notebook (no JSON)" in three.remarks("broken")


def test_the_table_holds_a_line_for_each_exercise_and_no_formula(three):
    with open(three.folder / "out" / "grades.csv", newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    assert head == ["name", "exercise", "points", "maximum", "remark"] and len(lines) == 3 * 10
    assert lines[1] == ["'=right one 2", "tables", "2", "2", ""] and not [w for line in lines for w in line if "\t" in w]


def test_the_feedback_names_the_failure_and_the_hint(three):
    page = three.page("cheat")
    assert "the noise by 0.6" in page and "a root is missing" in page and "alphas_cumprod" in page


def test_a_line_is_printed_for_each_submission(three):
    lines = three.printed.splitlines()
    assert lines[:2] == ["=right one 2: 10 of 20 points", "cheat: 8 of 20 points"]


# ---------------------------------------------------------------- the whole class
@pytest.fixture(scope="module")
def room(blank, tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    submissions = honest(blank) | {name: fill(blank, answers) for name, (answers, _, _) in MISTAKES.items()}
    submissions |= hostile(blank, folder) | malformed(blank)
    files = hand_in(folder, submissions) + [folder / "nowhere.ipynb", folder]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_TOKEN", "hunter2")
        return Class(folder, files, timeout=8, limit=60)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_typical_mistake_loses_its_own_points_and_gets_its_hint(room, name):
    _, wrong, hint = MISTAKES[name]
    assert room.points(name) == POINTS | dict.fromkeys(wrong, 0) and not room.trouble(name)
    assert any(hint in words for exercise in wrong for words in room.rows[name][exercise].hints)


@pytest.mark.parametrize("name", ["right", "answered", "helper", "import", "other T", "asks", "prints", "shell"])
def test_what_a_student_may_do_costs_nothing(room, name):
    assert room.points(name) == POINTS and not room.trouble(name)


@pytest.mark.parametrize("name, remark", [
    ("deleted test", "the cell 'q-sample' is missing"), ("moved", "the cell 'tables-blank' is missing"),
    ("twice", "the cell 'tables' is there 2 times: the last one counts"),
    ("as markdown", "the cell 'q-sample-blank' had become another kind of cell"),
    ("no metadata", "the cell 'tables' has lost its nbgrader metadata"), ("deleted answer", "the cell 'question-2' is missing")])
def test_a_careless_file_gets_its_points_and_a_remark(room, name, remark):
    assert room.points(name) == POINTS and room.trouble(name) and remark in room.remarks(name)


def test_only_the_exercise_whose_answer_was_deleted_is_lost(room):
    assert room.points("deleted blank") == POINTS | {"q-sample": 0}
    assert "the cell 'q-sample-blank' is missing; NameError: name 'q_sample' is not defined" in room.remarks("deleted blank")


def test_tests_that_a_student_mended_are_the_handouts_again(room):
    assert room.points("mended tests") == POINTS | {"q-sample": 0}


def test_a_blank_is_told_from_an_answer(room):
    assert room.points("blank") == LOST and {row.remark for row in room.rows["blank"].values()} == {"not answered"}
    assert room.rows["answered"]["question-1"].points is None


def test_an_error_of_syntax_is_named(room):
    assert all("the cell ended with SyntaxError" in room.rows["syntax"][test].remark for test in ("reverse-mean", "reverse-noise"))
    assert room.points("syntax") == POINTS | {"reverse-mean": 0, "reverse-noise": 0}


@pytest.mark.parametrize("name", ["redefines check", "patches numpy", "equals all", "forges an answer", "never ends", "never stops"])
def test_force_wins_nothing_and_costs_no_other_point(room, name):
    assert room.points(name) == POINTS | {"q-sample": 0}


def test_a_shell_that_runs_nothing_wins_nothing(room):
    assert sum(room.points("patches the shell").values()) == 4


@pytest.mark.skipif(not runner.landlock(), reason="this system has no Landlock")
@pytest.mark.parametrize("name", ["reads the solution", "imports the solution"])
def test_the_solution_is_out_of_reach(room, name):
    assert room.points(name) == POINTS | {"q-sample": 0}


def test_no_secret_of_the_environment_is_seen(room):
    words = room.remarks("reads the environment")
    assert "HOME" in words and "hunter2" not in words


@pytest.mark.skipif(not runner.landlock(), reason="this system has no Landlock")
def test_nothing_is_written_outside_the_own_folder(room):
    assert not (room.folder / "written").exists() and "PermissionError" in room.rows["writes outside"]["q-sample"].remark


def test_no_line_of_the_table_is_forged(room):
    assert "forged" not in room.printed and room.points("writes to the terminal") == POINTS


def test_no_process_outlives_the_grading(room):
    assert room.points("outlives") == POINTS
    assert not [p for p in psutil.process_iter(["cmdline"]) if "98765" in (p.info["cmdline"] or [])]


@pytest.mark.parametrize("name", ["exits", "eats memory", "hangs in a cell", "kills"])
def test_a_cell_that_ends_or_hangs_its_process_is_left_out(room, name):
    assert room.points(name) == POINTS


@pytest.mark.parametrize("name, words", [
    ("empty", "the file is empty"), ("no json", "no JSON"), ("half", "no JSON"), ("binary", "no JSON"), ("merge", "unfinished merge"),
    ("a list", "no list of cells"), ("no cells", "no list of cells"), ("cells a number", "no list of cells"),
    ("nested", "no JSON"), ("no cell", "the notebook is empty"), ("nowhere", "expected a file"), ("class0", "expected a file")])
def test_a_file_that_is_no_notebook_gets_a_sentence(room, name, words):
    assert set(room.points(name).values()) == {None} and room.trouble(name) and words in room.remarks(name)


@pytest.mark.parametrize("name, words", [
    ("utf-16", ""), ("byte order mark", ""), ("format 3", "old format (3)"), ("wrong types", "cells that cannot be read: 4"),
    ("metadata a list", ""), ("grade_id a list", "")])
def test_a_damaged_notebook_gets_the_points_of_what_can_be_read(room, name, words):
    assert room.points(name) == POINTS and words in room.remarks(name)


def test_a_class_is_graded_in_two_minutes_for_thirty(room):
    assert room.seconds < 120 * len(room.rows) / 30


# ---------------------------------------------------------------- the handout itself
def test_a_handout_whose_solution_fails_its_tests_is_refused(tmp_path):
    def cell(source, kind=new_code_cell, **marks):
        base = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
        return kind(source, metadata={"nbgrader": base | marks})

    nbformat.write(new_notebook(cells=[
        cell("def one():\n    ### BEGIN SOLUTION\n    return 2\n    ### END SOLUTION", grade_id="blank", solution=True),
        cell("assert one() == 1, 'one is 1'", grade_id="test", grade=True, locked=True, points=1),
        new_markdown_cell("Well done.")]), tmp_path / "x.ipynb")
    with pytest.raises(InputError, match="the handout's own solution does not pass its tests .test: one is 1."):
        grading.grade_all(tmp_path / "x.ipynb", [tmp_path / "x.ipynb"], tmp_path / "out", jobs=1)


def test_values_travel_as_plain_data():
    import numpy as np
    value = decoded = {"a": [1, 2.5, None, "x", (True,)], 3: np.arange(6.0).reshape(2, 3), "s": np.float32(2)}
    decoded = runner.decode(runner.encode(value))
    assert decoded["a"] == value["a"] and (decoded[3] == value[3]).all() and decoded["s"].dtype == np.float32


def test_a_function_is_no_data():
    with pytest.raises(TypeError, match="expected data, not a function"):
        runner.encode(lambda: 1)
