"""Grading a class: everybody gets what a fair teacher would give, twice the same, and nobody is lost."""
import contextlib
import csv
import io
import os
import re

import nbformat
import pytest
from classroom import MISTAKES, POINTS, QUESTIONS, RIGHT, SOURCE, fill, student_version, submissions
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lib import InputError
from lib.teaching import grading, handouts

pytest.importorskip("nbgrader")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="grading needs Linux or macOS")
# each by nbgrader takes some ten seconds of a core; the others differ from these by their answer alone, see test_handouts
GRADED = ["01", "02 ", "04 root", "05 ", "05b", "06", "07b", "08 ", "09", "10 ", "12", "13", "14", "15", "17", "18", "21", "23", "25 ", "25b", "25e", "26"]


class Class:
    """A class that is graded: what was printed, and the table by student."""

    def __init__(self, folder):
        self.folder, self.course = folder, folder / "course"
        handouts.make_course(SOURCE, self.course)
        config = self.course / "nbgrader_config.py"
        config.write_text(config.read_text() + "c.Patient.seconds = 6\n")
        self.blank = nbformat.read(self.course / "release" / SOURCE.stem / SOURCE.name, as_version=4)

    def grade(self, **handed_in):
        files, printed = [], io.StringIO()
        for name, content in handed_in.items():
            files.append(self.folder / f"{name}.ipynb")
            files[-1].write_bytes(content if isinstance(content, bytes) else nbformat.writes(content).encode())
        with contextlib.redirect_stdout(printed):
            look = grading.grade(SOURCE, files, self.course)
        lines = re.split(r"\n(?=\S)", printed.getvalue().strip())
        return look, {line.partition(":")[0]: line for line in lines}

    @property
    def table(self):
        with open(self.course / "grades.csv", newline="", encoding="utf-8") as file:
            return {row["student"].lstrip("'"): row for row in csv.DictReader(file)}

    def points(self, name):
        return {test: float(self.table[name][test]) for test in POINTS}

    def feedback(self, name):
        return (self.course / "feedback" / name / SOURCE.stem / f"{SOURCE.stem}.html").read_text(encoding="utf-8")

    @contextlib.contextmanager
    def book(self, name):
        """nbgrader's grades of a student by name, as formgrader sees and changes them."""
        with handouts.course_api(self.course).gradebook as book:
            yield {grade.name: grade for grade in grading.grades(book, SOURCE.stem, name)}
            book.db.commit()


# ---------------------------------------------------------------- a class
@pytest.fixture(scope="module")
def room(tmp_path_factory):
    room = Class(tmp_path_factory.mktemp("class"))
    room.all = {name: kind for name, kind in submissions(room.blank).items() if name.startswith(tuple(GRADED))}
    room.look, room.lines = room.grade(**{name: notebook for name, (notebook, *_) in room.all.items()})
    return room


KINDS = [name for name in submissions(student_version()) if name.startswith(tuple(GRADED))]


@pytest.mark.parametrize("name", KINDS)
def test_a_student_gets_what_a_fair_teacher_would_give(room, name):
    _, lost, look, word = room.all[name]
    student = name.replace("=", "_")
    if lost is None:
        assert word in room.lines[student] and student not in room.table
        return
    assert room.points(student) == POINTS | dict.fromkeys(lost, 0)
    assert ("look at" in room.lines[student]) == look
    assert word in re.sub(r"<[^>]+>|\s+", " ", room.feedback(student)).replace("&#39;", "'")


def test_a_file_that_cannot_be_read_is_one_line(room):
    assert room.look and [line for line in room.lines.values() if "no grade" in line] == [
        "12b empty: the file is empty: no grade", "12c no cells: the file is empty: no grade", "12d half a file: the file is no notebook: no grade"]


def test_an_answer_in_words_waits_for_a_person_and_an_untouched_one_does_not(room):
    assert [room.table["13c answered"][question] for question in QUESTIONS] == ["", "0", "0", "0", "0"]
    assert "10 of 18 points, 2 more by hand" in room.lines["13c answered"]


def test_no_name_is_a_formula_of_a_spreadsheet(room):
    assert "_formula" in {name[2:] for name in room.table}


def test_feedback_shows_no_line_of_a_hidden_test(room):
    source = nbformat.read(SOURCE, as_version=4)
    hidden = [line for cell in source.cells for part in re.findall(r"(?s)BEGIN HIDDEN TESTS\n(.*?)### END", cell.source) for line in part.splitlines()]
    assert len(hidden) > 20 and not [line for line in hidden if len(line) > 30 and line.strip() in room.feedback("04 root forgotten")]


# ---------------------------------------------------------------- a term
@pytest.fixture(scope="module")
def term(tmp_path_factory):
    return Class(tmp_path_factory.mktemp("term"))


def test_a_second_call_keeps_all_others_and_what_was_given_by_hand(term):
    right, wrong = fill(term.blank, RIGHT), fill(term.blank, MISTAKES["root forgotten"][0])
    for notebook in (right, wrong):
        next(c for c in notebook.cells if handouts.marks(c).get("grade_id") == "question-1").source = "So."
    term.grade(ann=right, ben=wrong)
    assert {name: row["points"] for name, row in term.table.items()} == {"ann": "10", "ben": "8"}
    for name, points in (("ann", 1.5), ("ben", 2.0)):
        with term.book(name) as grades:                                             # what formgrader writes
            grades["question-1"].manual_score, grades["question-1"].needs_manual_grade = points, False
    term.grade()                                                                    # no files: table and feedback anew
    assert {name: row["points"] for name, row in term.table.items()} == {"ann": "11.5", "ben": "10"}
    assert term.table["ann"]["still to grade by hand"] == "0" and "11.5" in term.feedback("ann")
    answers = [c for c in right.cells if handouts.marks(c).get("grade_id") == "question-2"]
    answers[0].source = "Noise."
    term.grade(ann=right, zoe=right)                                                # ann hands in again, zoe is late
    assert {name: row["points"] for name, row in term.table.items()} == {"ann": "11.5", "ben": "10", "zoe": "10"}
    assert term.table["ann"]["still to grade by hand"] == "1"                       # the new answer; the old one stays graded
    term.grade(ben=b"")                                                             # an empty file takes nothing away
    assert term.table["ben"]["points"] == "10"


def test_a_name_is_the_files_or_its_folders(tmp_path):
    names = grading.by_student(["ann.ipynb", "ben lee/student.ipynb", "cy/ddpm_by_hand.ipynb", "sub/d=e.ipynb"], SOURCE)
    assert list(names) == ["ann", "ben lee", "cy", "d_e"]
    with pytest.raises(InputError, match="are both of 'ann': expected one file for each student"):
        grading.by_student(["ann.ipynb", "again/ann.ipynb"], SOURCE)


def test_an_exercise_that_nbgrader_refuses_is_one_sentence(tmp_path):
    marks = {"schema_version": 3, "grade_id": "a", "grade": False, "solution": True, "locked": False, "task": False}
    cell = new_code_cell("### BEGIN SOLUTION\nx = 1", metadata={"nbgrader": marks})
    nbformat.write(new_notebook(cells=[cell, new_markdown_cell("Text.")]), tmp_path / "x.ipynb")
    with pytest.raises(InputError, match="x.ipynb: nbgrader refuses it: no end solution statement found"):
        handouts.make_course(tmp_path / "x.ipynb", tmp_path / "course")
