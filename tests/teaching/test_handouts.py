"""Handouts: what students and instructors get, which points an answer gets, and that nbgrader agrees."""
import copy
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import numpy as np
import pypdf
import pytest
from classroom import MISTAKES, POINTS, RIGHT, SOURCE, fill
from commands import python
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import lib.__main__ as front_door
from lib import ROOT, InputError
from lib.engine import commands
from lib.teaching import handouts

pytest.importorskip("nbgrader")
SOLUTION, HIDDEN = (("### BEGIN " + kind, "### END " + kind) for kind in ("SOLUTION", "HIDDEN TESTS"))

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handout")
    assert sorted(p.name for p in handouts.make(SOURCE, folder)) == ["instructor.ipynb", "instructor.pdf", "student.ipynb", "student.pdf"]
    return folder


@pytest.fixture(scope="module")
def source():
    return handouts.read(SOURCE)


@pytest.fixture(scope="module")
def student(source):
    return handouts.student(source)


def marked_lines(source):
    """The lines of all solutions and hidden tests."""
    parts = [part for cell in source.cells for part in handouts.regions(cell.source, "") if part[0]]
    return {line.strip() for _, _, lines in parts for line in lines if line.strip()}


# ---------------------------------------------------------------- the versions
def test_students_get_no_line_of_a_solution_or_hidden_test(source, folder):
    student = nbformat.read(folder / "student.ipynb", 4)
    lines = {line.strip() for cell in student.cells for line in cell.source.splitlines()}
    assert len(marked_lines(source)) > 40 and not lines & marked_lines(source)
    text = (folder / "student.ipynb").read_text(encoding="utf-8")
    for words in ("BEGIN", "END ", "HIDDEN", "SOLUTION", "Answer.", "np.cumprod(alphas)"):
        assert words not in text
    assert text.count("# YOUR CODE HERE") == 3 and text.count("YOUR ANSWER HERE") == 5


def test_students_get_no_outputs_and_no_metadata_but_nbgraders(folder):
    student = nbformat.read(folder / "student.ipynb", 4)
    nbformat.validate(student)
    assert set(student.metadata) == {"kernelspec", "language_info"}
    for cell in student.cells:
        assert set(cell.metadata) <= {"nbgrader", "deletable", "editable"}
        assert not cell.get("outputs") and not cell.get("execution_count")


def test_a_test_can_be_neither_changed_nor_deleted_in_jupyter(student):
    tests = [cell for cell in student.cells if handouts.marks(cell).get("grade") and cell.cell_type == "code"]
    assert len(tests) == 5 and not any(cell.metadata.deletable or cell.metadata.editable for cell in tests)


def test_the_students_version_stops_at_the_first_blank(student):
    names = {}
    for c in student.cells:
        if c.cell_type == "code" and handouts.marks(c).get("grade_id") == "tables-blank":
            with pytest.raises(NotImplementedError):
                exec(c.source, names)
            return
        if c.cell_type == "code":
            exec(c.source, names)


def test_the_instructors_version_ran_and_shows_what_to_expect(source, folder):
    cells = [c for c in nbformat.read(folder / "instructor.ipynb", 4).cells if c.cell_type == "code"]
    outputs = [o for c in cells for o in c.outputs]
    assert all(c.execution_count for c in cells) and not [o for o in outputs if o.output_type == "error"]
    assert len([o for o in outputs if o.output_type == "display_data"]) == 3
    printed = "".join(o.text for o in outputs if o.output_type == "stream")
    assert re.findall(r"(\w+): right", printed) == ["1a", "1b", "2", "3a", "3b"]
    assert "nearest known digit: 0.000000" in printed                    # the perfect denoiser dreams copies
    lines = {line.lstrip("> ").strip() for c in nbformat.read(folder / "instructor.ipynb", 4).cells for line in c.source.splitlines()}
    assert not [line for line in marked_lines(source) if line not in lines and "**Answer.** " + line not in lines]


@pytest.mark.parametrize("name", ["student", "instructor"])
def test_the_pdf_shows_code_and_typeset_formulas_without_marks(folder, name):
    pdf = pypdf.PdfReader(folder / f"{name}.pdf")
    text = "\n".join(page.extract_text() for page in pdf.pages)
    assert pdf.metadata.title == "A diffusion model by hand" and 6 <= len(pdf.pages) <= 12
    assert "def q_sample(x0, t, eps, tables):" in text and "(Ho et al. eq. 4)" in text and "Question 5" in text
    for words in ("BEGIN", "###", "\\bar", "YOUR ANSWER HERE", "NotImplementedError()\n    ", "<div"):
        assert words not in text
    assert ("Answer." in text) == ("# hidden tests" in text) == (name == "instructor")


@pytest.mark.parametrize("name", ["student", "instructor"])
def test_the_figures_that_a_question_talks_about_are_printed(folder, name):
    assert sum(len(page.images.keys()) for page in pypdf.PdfReader(folder / f"{name}.pdf").pages) == 3


def test_a_line_of_code_fits_into_the_pdf(source):
    assert max(len(line) for c in source.cells if c.cell_type == "code" for line in c.source.splitlines()) <= 86


def test_the_points_on_the_page_are_those_that_are_given(source):
    given = [handouts.marks(c)["points"] for c in source.cells if handouts.marks(c).get("grade")]
    shown = [int(n) for c in source.cells for n in re.findall(r"^(?:### Question|# Test) \w+ \((\d) points[,)]", c.source, re.M)]
    assert given == shown and sum(given) == 20 and "20 points" in source.cells[0].source


# ---------------------------------------------------------------- marks
def cell(*lines, kind=new_code_cell, **nbgrader):
    nbgrader = {"schema_version": 3, "grade_id": "a", "grade": False, "solution": False, "locked": False, "task": False} | nbgrader
    return kind("\n".join(lines), metadata={"nbgrader": nbgrader})


def write(folder, *cells, name="x.ipynb"):
    nbformat.write(new_notebook(cells=list(cells)), folder / name)
    return folder / name


@pytest.mark.parametrize("cells, sentence", [
    ([cell(SOLUTION[0], "x = 1", solution=True)], "x.ipynb, cell 1: ### BEGIN SOLUTION without ### END SOLUTION"),
    ([new_markdown_cell("Text."), cell("x = 1", SOLUTION[1], solution=True)], "x.ipynb, cell 2: ### END SOLUTION without ### BEGIN SOLUTION"),
    ([cell(SOLUTION[0], SOLUTION[0], "x = 1", SOLUTION[1], SOLUTION[1], solution=True)], "cell 1: ### BEGIN SOLUTION inside ### BEGIN SOLUTION"),
    ([cell(HIDDEN[0], SOLUTION[0], "x = 1", SOLUTION[1], HIDDEN[1], grade=True, points=1)], "cell 1: ### BEGIN SOLUTION inside ### BEGIN HIDDEN TESTS"),
    ([cell(SOLUTION[0], "x = 1", HIDDEN[1], solution=True)], "cell 1: ### END HIDDEN TESTS without ### BEGIN HIDDEN TESTS"),
    ([new_code_cell("\n".join([SOLUTION[0], "x = 1", SOLUTION[1]]))], 'cell 1: ### BEGIN SOLUTION in a cell whose nbgrader metadata lack "solution": true'),
    ([cell(HIDDEN[0], "x = 1", HIDDEN[1], solution=True)], 'cell 1: ### BEGIN HIDDEN TESTS in a cell whose nbgrader metadata lack "grade": true'),
    ([cell("### BEGIN MARK SCHEME", "1 point", "### END MARK SCHEME", grade=True, points=1)], 'cell 1: ### BEGIN MARK SCHEME in a cell whose nbgrader metadata lack "task": true'),
    ([cell("x = 1", solution=True)], "cell 1: a solution cell without ### BEGIN SOLUTION"),
    ([cell("x = 1"), cell("x = 1")], "cell 2: schema_version=3, grade_id='a': expected 3 and a name of its own"),
    ([cell("x = 1", schema_version=2)], "cell 1: schema_version=2, grade_id='a': expected 3 and a name of its own"),
    ([new_code_cell("x = 1")], "x.ipynb: expected cells with nbgrader metadata"),
])
def test_marks_that_do_not_fit_are_refused_with_one_sentence(tmp_path, cells, sentence):
    with pytest.raises(InputError) as error:
        handouts.make(write(tmp_path, *cells), tmp_path / "out")
    assert sentence in str(error.value) and "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_a_mark_scheme_is_for_the_instructor(tmp_path):
    task = cell("Draw it.", "### BEGIN MARK SCHEME", "1 point.", "### END MARK SCHEME", kind=new_markdown_cell, task=True, points=1)
    source = handouts.read(write(tmp_path, task))
    versions = handouts.student(source), handouts.paper(source, source), handouts.instructor(source)
    assert [v.cells[0].source for v in versions] == ["Draw it.", "Draw it.", "Draw it.\n> **Marks.** 1 point."]


def test_the_minutes_of_the_exercises_add_up_to_those_of_the_title(source):
    text = "\n".join(c.source for c in source.cells if c.cell_type == "markdown")
    assert 60 <= sum(int(n) for n in re.findall(r"^##+ .*?(\d+) minutes\)$", text, re.M)) <= 90


def test_the_numbers_in_the_exercise_are_right(source):
    text = "\n".join(c.source for c in source.cells)
    ends = [np.prod(1 - np.linspace(1e-4, 0.02, T)) for T in (1000, 100)]
    assert f"is {ends[0]:.5f}." in text and f"is {ends[1]:.2f}." in text
    assert f"approx {0.0001**0.5 * 255 / 2:.1f}$ grey levels" in text


# ---------------------------------------------------------------- the visible tests
def run_visible(student, answers):
    """{test: its error, or None} of the student's notebook, in this process and without figures."""
    names, failed = {}, {}
    for c in fill(student, answers).cells:
        if c.cell_type == "code" and not any(words in c.source for words in ("perfect_denoiser(", "show(", "dreams")):
            name = handouts.marks(c).get("grade_id")
            try:
                with np.errstate(all="ignore"):
                    exec(c.source, names)
                failed[name] = None
            except (AssertionError, IndexError, ValueError) as error:
                failed[name] = error
    return {name: failed[name] for name in POINTS}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_visible_tests_alone_find_the_mistake(student, name):
    answers, wrong, _ = MISTAKES[name]
    assert [test for test, error in run_visible(student, answers).items() if error] == wrong


def test_a_visible_test_that_fails_prints_its_sentence_alone(student):
    error = run_visible(student, MISTAKES["noise at t=0"][0])["reverse-noise"]
    assert error._render_traceback_() == ["Not right yet: the step from t = 0 must add no noise, whatever the variance."]


def test_a_right_answer_passes(student):
    assert not any(run_visible(student, RIGHT).values())


# ---------------------------------------------------------------- the commands
TINY = [cell("def one():", "    " + SOLUTION[0], "    return 1", "    " + SOLUTION[1], grade_id="blank", solution=True),
        cell("assert one() in (1, 2)", HIDDEN[0], "assert one() == 1", HIDDEN[1], grade_id="test", grade=True, points=3),
        cell("Why?", SOLUTION[0], "So.", SOLUTION[1], kind=new_markdown_cell, grade_id="why", grade=True, solution=True, points=2)]


def test_the_command_ends_with_1_if_a_file_wants_a_look(tmp_path, monkeypatch, capsys):
    for module in (front_door, commands):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    source = write(tmp_path, *TINY, name="tiny.ipynb")
    student = handouts.student(handouts.read(source))
    for name, answer in (("ann", "    return 1"), ("bob", "    return 2")):        # bob passes the visible test only
        nbformat.write(fill(student, {"blank": answer}), tmp_path / f"{name}.ipynb")
    (tmp_path / "eve.ipynb").write_text("")
    files = [str(tmp_path / f"{name}.ipynb") for name in ("ann", "bob", "eve")]
    assert front_door.main(["grade", "--handout", str(source), *files]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[:3] == ["ann: 3 of 5 points", "bob: 0 of 5 points", "eve: 0 of 0 points, 5 more to be given by a person"]
    assert (tmp_path / "reports" / "build" / "handouts" / "tiny" / "grades.csv").is_file()


def test_without_nbgrader_one_sentence_says_how_to_get_it(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    with pytest.raises(InputError, match="handouts are made with nbgrader: pip install -e"):
        handouts.student(source)


def test_a_wrong_solution_in_the_source_ends_with_1(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    wrong = copy.deepcopy(TINY)
    wrong[0].source = wrong[0].source.replace("return 1", "return 2")
    assert front_door.main(["handout", str(write(tmp_path, *wrong))]) == 1
    assert capsys.readouterr().err == "x.ipynb: a solution or test fails: AssertionError: \n"


# ---------------------------------------------------------------- nbgrader, where it is installed
def nbgrader(course, *words):
    """A command of nbgrader's; it calls alembic by name, which lies beside Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = python(course, *words, seconds=300, env=os.environ | {"PATH": path})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course of nbgrader's with the source as it is."""
    course = tmp_path_factory.mktemp("course")
    (course / "source" / "ddpm").mkdir(parents=True)
    shutil.copy(SOURCE, course / "source" / "ddpm")
    nbgrader(course, "-m", "nbgrader", "generate_assignment", "ddpm")
    return course


def test_nbgrader_makes_the_same_students_version(course, student):
    theirs = nbformat.read(course / "release" / "ddpm" / SOURCE.name, 4)
    assert [(c.source, c.metadata) for c in theirs.cells] == [(c.source, c.metadata) for c in student.cells]


def test_nbgrader_gives_the_same_points(course, student):
    class_ = {"right": (RIGHT, [], "")} | {name: MISTAKES[name] for name in ("noise at t=0", "beta as variance", "t off by one")}
    for name, (answers, _, _) in class_.items():
        folder = course / "submitted" / name.replace(" ", "-").replace("=", "") / "ddpm"
        folder.mkdir(parents=True)
        nbformat.write(fill(student, answers), folder / SOURCE.name)
    nbgrader(course, "-m", "nbgrader", "autograde", "ddpm")
    code = ("from nbgrader.api import Gradebook; book = Gradebook('sqlite:///gradebook.db'); "
            "[print(s.student_id, g.name, g.auto_score) for s in book.assignment_submissions('ddpm') "
            "for n in s.notebooks for g in n.grades if g.cell.cell_type == 'code']")
    found = {}
    for name, test, points in (line.split() for line in nbgrader(course, "-c", code).splitlines()):
        found.setdefault(name, {})[test] = float(points)
    assert found == {name.replace(" ", "-").replace("=", ""): POINTS | dict.fromkeys(wrong, 0) for name, (_, wrong, _) in class_.items()}
