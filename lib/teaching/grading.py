"""Grading a class with nbgrader, each submission in a process of its own; nbgrader's gradebook keeps all grades.

Students' code has the rights of whoever grades: grade strangers' code in a container (notebooks/README.md).
"""
import csv
import io
import multiprocessing
import os
import re
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat

from lib import ROOT, InputError
from lib.processes import kernel_sockets
from lib.report.runs import write_atomic
from lib.teaching.handouts import check, course_api, make_course, marks

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def grade(source, files, course, jobs=2):
    """Grade the submissions `files` (paths) to the exercise `source` (a path) in the course folder `course`.

    Prints lines for each. Adds them to what was graded before; a student's new file replaces the earlier one. Writes
    feedback for each, and grades.csv of all students. Returns whether a file wants a teacher's look.
    """
    if os.name == "nt":
        raise InputError("grading needs Linux or macOS: on Windows, call it in WSL")
    submissions = by_student(files, source)
    if not files and not any((course / "autograded").glob("*")):
        raise InputError("nothing was graded yet: expected students' notebooks, one file each")
    make_course(source, course)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), prepare) as pool:
        texts = []
        for result in [pool.submit(grade_one, course, source.stem, *item) for item in submissions.items()]:
            texts.append(result.result())
            print(texts[-1], flush=True)
    if not files:
        check(course_api(course).generate_feedback(source.stem), source.stem)
    export(course, source.stem)
    return any("\n" in text or "no grade" in text for text in texts)


def by_student(files, source):
    """{student: path}: a student's name is the file's, or its folder's where the file has the exercise's name."""
    found = {}
    for path in map(Path, files):
        name = path.absolute().parent.name if path.stem in ("student", source.stem) else path.stem
        name = re.sub(r"[^\w .()-]", "_", name).strip(" .") or "_"
        if name in found:
            raise InputError(f"{found[name]} and {path} are both of {name!r}: expected one file for each student")
        found[name] = path
    return found


def prepare():
    """In a process that grades: let its kernels import this clone's lib, and compute in one thread each."""
    warnings.simplefilter("ignore")                 # SQLAlchemy's, about nbgrader
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    os.environ.update(ONE_THREAD, PYTHONPATH=paths)


def grade_one(course, assignment, student, path):
    """Copy a submission in, and let nbgrader run it in a kernel of its own. Returns lines for the terminal.

    Points that a person gave to an answer stay, and stay final if it is the same.
    """
    try:
        text = path.read_text(encoding="utf-8")
        notebook = nbformat.reads(text, as_version=4)
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        reason = "cannot be read" if isinstance(error, OSError) else "is no notebook" if text.strip() else "is empty"
        return f"{student}: the file {reason}: no grade"
    if not any(cell.source.strip() for cell in notebook.cells):
        return f"{student}: the file is empty: no grade"
    write_atomic(course / "submitted" / student / assignment / f"{assignment}.ipynb", nbformat.writes(notebook))
    file = course / "autograded" / student / assignment / f"{assignment}.ipynb"
    try:
        with kernel_sockets() as config:
            api = course_api(course, config)
            with api.gradebook as book:
                final = {grade.name for grade in grades(book, assignment, student) if not grade.needs_manual_grade}
            before = answers(file)
            check(api.autograde(assignment, student), path.name)
            same = {name for name, text in answers(file).items() if before.get(name) == text}
            with api.gradebook as book:
                for grade in grades(book, assignment, student):
                    if grade.manual_score is not None and grade.name in final & same:
                        grade.needs_manual_grade = False
                book.db.commit()
                lines = summary(book, assignment, student)
            check(api.generate_feedback(assignment, student), path.name)
    except InputError as error:
        return f"{student}: {error}: no grade"
    return lines


def answers(file):
    """{grade_id: text} of an autograded notebook, {} before it is there."""
    cells = nbformat.read(file, as_version=4).cells if file.exists() else []
    return {marks(cell)["grade_id"]: cell.source for cell in cells if marks(cell).get("grade_id")}


# ---------------------------------------------------------------- what came out
def grades(book, assignment, student):
    """nbgrader's grades of a student, [] before the first submission."""
    from nbgrader.api import MissingEntry
    try:
        return [grade for notebook in book.find_submission(assignment, student).notebooks for grade in notebook.grades]
    except MissingEntry:
        return []


def summary(book, assignment, student):
    """A line with the points, and lines below if there is a grade that a teacher should look at."""
    found = grades(book, assignment, student)
    by_hand = [grade for grade in found if grade.needs_manual_grade and grade.auto_score is None]
    look = [grade.name for grade in found if grade.needs_manual_grade and grade not in by_hand]
    sure = [grade for grade in found if grade not in by_hand]
    line = f"{student}: {sum(g.score for g in sure):g} of {sum(g.max_score for g in sure):g} points"
    line += f", {sum(g.max_score for g in by_hand):g} more by hand" if by_hand else ""
    notebook, = book.find_submission(assignment, student).notebooks
    return "\n  ".join([line, f"look at {', '.join(look)}", *remarks(notebook)] if look else [line])


def remarks(notebook):
    """What nbgrader's comments on a submission say."""
    lines = {line for comment in notebook.comments for line in (comment.comment or "").splitlines()}
    return sorted(lines - {"No response."})


def export(course, assignment):
    """Write grades.csv: a line for each student that was ever graded here; no cell is a formula in a spreadsheet."""
    release = nbformat.read(course / "release" / assignment / f"{assignment}.ipynb", as_version=4)
    names = [marks(cell).grade_id for cell in release.cells if marks(cell).get("grade")]
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["student", "points", "of", "still to grade by hand", *names, "remarks"])
    with course_api(course).gradebook as book:
        for submission in sorted(book.assignment_submissions(assignment), key=lambda s: s.student.id):
            notebook, = submission.notebooks
            found = {grade.name: grade for grade in notebook.grades}
            opened = sum(grade.needs_manual_grade for grade in found.values())
            points = ["" if grade.needs_manual_grade and grade.auto_score is None else f"{grade.score:g}"
                      for grade in map(found.get, names)]
            line = [submission.student.id, f"{notebook.score:g}", f"{notebook.max_score:g}", opened, *points,
                    " ".join(remarks(notebook))]
            table.writerow([re.sub(r"^(?=[=+\-@])", "'", str(word)) for word in line])
    write_atomic(course / "grades.csv", text.getvalue())
