"""Exercises: what students and instructors get, and which sentence a mistake gets at home."""
import copy
import re

import nbformat
import numpy as np
import pypdf
import pytest
from classroom import MISTAKES, POINTS, SOURCE, fill, student_version, submissions
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import lib.__main__ as front_door
from lib import ROOT
from lib.engine import commands
from lib.teaching import handouts

pytest.importorskip("nbgrader")
MARKED = re.compile(r"(?s)### BEGIN (?:SOLUTION|HIDDEN TESTS)\n(.*?)\n\s*### END")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handout")
    written = handouts.make(SOURCE, folder)
    assert sorted(p.name for p in written) == ["instructor.ipynb", "instructor.pdf", "student.ipynb", "student.pdf"]
    return folder


@pytest.fixture(scope="module")
def source():
    return nbformat.read(SOURCE, as_version=4)


@pytest.fixture(scope="module")
def student(folder):
    return nbformat.read(folder / "student.ipynb", as_version=4)


def marked_lines(source):
    """The lines of all solutions and hidden tests."""
    return {line.strip() for cell in source.cells for part in MARKED.findall(cell.source) for line in part.splitlines() if line.strip()}


# ---------------------------------------------------------------- the versions
def test_students_get_no_line_of_a_solution_or_hidden_test(source, student, folder):
    lines = {line.strip() for cell in student.cells for line in cell.source.splitlines()}
    assert len(marked_lines(source)) > 40 and not [line for line in lines & marked_lines(source) if len(line) > 3]
    text = (folder / "student.ipynb").read_text(encoding="utf-8")
    for words in ("BEGIN", "END ", "HIDDEN", "SOLUTION", "Answer.", "np.cumprod(alphas)"):
        assert words not in text
    assert text.count("# YOUR CODE HERE") == 3 and text.count("YOUR ANSWER HERE") == 5


def test_the_course_folder_is_nbgraders(folder, student):
    release = nbformat.read(folder / "release" / SOURCE.stem / SOURCE.name, as_version=4)
    assert [c.source for c in release.cells] == [c.source for c in student.cells]
    with handouts.course_api(folder).gradebook as book:
        assert {cell.name for cell in book.find_notebook(SOURCE.stem, SOURCE.stem).grade_cells} >= set(POINTS)


def test_a_test_can_be_neither_changed_nor_deleted_in_jupyter(student):
    locked = [cell for cell in student.cells if handouts.marks(cell).get("locked")]
    assert len(locked) == 7 and not any(cell.metadata.deletable or cell.metadata.editable for cell in locked)


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
def test_no_equation_is_parted_from_the_sentence_that_ends_with_it(folder, name):
    for page in pypdf.PdfReader(folder / f"{name}.pdf").pages:
        *_, last, number = page.extract_text().splitlines()
        assert re.fullmatch(r"\d+ / \d+", number) and not last.rstrip().endswith(":"), last


@pytest.mark.parametrize("name", ["student", "instructor"])
def test_the_figures_that_a_question_talks_about_are_printed(folder, name):
    assert sum(len(page.images.keys()) for page in pypdf.PdfReader(folder / f"{name}.pdf").pages) == 3


def test_a_line_of_code_fits_into_the_pdf(source):
    assert max(len(line) for c in source.cells if c.cell_type == "code" and "plumbing" not in c.metadata.get("tags", []) for line in c.source.splitlines()) <= 86


def test_the_points_on_the_page_are_those_that_are_given(source):
    given = [handouts.marks(c)["points"] for c in source.cells if handouts.marks(c).get("grade")]
    shown = [int(n) for c in source.cells for n in re.findall(r"^(?:### Question|# Test) \w+ \((\d) points[,)]", c.source, re.M)]
    assert given == shown and sum(given) == 20 and "20 points" in source.cells[0].source


def test_the_minutes_of_the_exercises_add_up_to_those_of_the_title(source):
    text = "\n".join(c.source for c in source.cells if c.cell_type == "markdown")
    assert 60 <= sum(int(n) for n in re.findall(r"^##+ .*?(\d+) minutes\)$", text, re.M)) <= 90


def test_the_numbers_in_the_exercise_are_right(source):
    text = "\n".join(c.source for c in source.cells)
    ends = [np.prod(1 - np.linspace(1e-4, 0.02, T)) for T in (1000, 100)]
    assert f"is {ends[0]:.5f}." in text and f"is {ends[1]:.2f}." in text
    assert f"approx {0.0001**0.5 * 255 / 2:.1f}$ grey levels" in text


# ---------------------------------------------------------------- what a student sees at home
def run(notebook):
    """{test: its sentence, or None} of a notebook, in this process and without figures."""
    names, failed = {}, {}
    for c in notebook.cells:
        if c.cell_type == "code" and not any(words in c.source for words in ("perfect_denoiser(", "show(rows", "dreams")):
            try:
                with np.errstate(all="ignore"):
                    exec(c.source, names)
                error = None
            except Exception as raised:
                error = raised
            failed[handouts.marks(c).get("grade_id")] = error
    return {name: failed[name] for name in POINTS}


def with_hidden_tests(notebook, source):
    """A student's notebook with the tests of the source."""
    tests = {handouts.marks(c).get("grade_id"): c.source for c in source.cells if handouts.marks(c).get("locked")}
    for cell in notebook.cells:
        cell.source = tests.get(handouts.marks(cell).get("grade_id"), cell.source)
    return notebook


@pytest.mark.parametrize("name", MISTAKES)
def test_a_typical_mistake_gets_its_sentence_at_home(student, name):
    answers, wrong, words = MISTAKES[name]
    errors = {test: error for test, error in run(fill(student, answers)).items() if error}
    assert list(errors) == wrong and any(words in str(error) for error in errors.values()), errors
    assert all(error._render_traceback_() == [f"Not right yet: {error}."] for error in errors.values())


ALONE = ("01", "02b", "03b", "03c", "11", "12 ", "18b", "20", "22", "24", "03 ")


@pytest.mark.parametrize("name", [name for name in submissions(student_version()) if name.startswith(ALONE)])
def test_the_tests_judge_fairly_with_the_hidden_ones(student, source, name):
    notebook, wrong, _, words = submissions(student)[name]
    errors = {test: error for test, error in run(with_hidden_tests(notebook, source)).items() if error}
    assert list(errors) == wrong and (words == "SyntaxError" or words in " ".join(map(str, errors.values())))


# ---------------------------------------------------------------- the commands
def cell(*lines, kind=new_code_cell, **nbgrader):
    base = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
    return kind("\n".join(lines), metadata={"nbgrader": base | nbgrader})


TINY = [cell("def one():", "    ### BEGIN SOLUTION", "    return 1", "    ### END SOLUTION", grade_id="blank", solution=True),
        cell("assert one() in (1, 2)", "### BEGIN HIDDEN TESTS", "assert one() == 1", "### END HIDDEN TESTS", grade_id="test", grade=True, locked=True, points=3),
        cell("Why?", "### BEGIN SOLUTION", "So.", "### END SOLUTION", kind=new_markdown_cell, grade_id="why", grade=True, solution=True, points=2)]


def test_the_command_ends_with_1_if_a_file_wants_a_look(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    nbformat.write(new_notebook(cells=TINY), tmp_path / "tiny.ipynb")
    course = tmp_path / "reports" / "build" / "handouts" / "tiny"
    student = nbformat.read(handouts.make_course(tmp_path / "tiny.ipynb", course), as_version=4)
    for name, answer in (("ann", "    return 1"), ("bob", "    return 2")):        # bob passes the visible test only
        nbformat.write(fill(student, {"blank": answer}), tmp_path / f"{name}.ipynb")
    (tmp_path / "eve.ipynb").write_text("")
    files = [str(tmp_path / f"{name}.ipynb") for name in ("ann", "bob", "eve")]
    assert front_door.main(["grade", "--handout", str(tmp_path / "tiny.ipynb"), *files[1:]]) == 1
    assert capsys.readouterr().out.splitlines()[:2] == ["bob: 0 of 5 points", "eve: the file is empty: no grade"]
    assert front_door.main(["grade", "--handout", str(tmp_path / "tiny.ipynb"), files[0]]) == 0
    assert (course / "grades.csv").read_text().splitlines()[1].startswith("ann,3,5,0,3,0,")


def test_a_wrong_solution_in_the_source_ends_with_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    monkeypatch.chdir(ROOT)
    wrong = copy.deepcopy(TINY)
    wrong[0].source = wrong[0].source.replace("return 1", "return 2")
    nbformat.write(new_notebook(cells=wrong), tmp_path / "x.ipynb")
    assert front_door.main(["handout", str(tmp_path / "x.ipynb")]) == 1
    assert capsys.readouterr().err == "x.ipynb: a solution or test fails: AssertionError: \n"
