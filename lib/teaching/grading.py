"""Grading a class: each student's notebook runs as it is, and the handout's own tests judge what it made (judge.py).

What a test can use of a student: functions that take and return data, and values (numbers, text, arrays, lists, dicts,
objects with attributes). A handout whose own solution does not get full points in this way is refused.

A student's process has limits of time, memory and file size, no terminal, no environment of yours, and an empty folder
of its own; with it end all processes that it started. On Linux with Landlock (5.13 or later) it can read the folders
of Python and of the system, write into its own folder, and nothing else: neither the solution nor other submissions;
TCP is out of reach from Linux 6.7 on, foreign processes from 6.12 on. Elsewhere (macOS) its code has your rights to
read and write files, and a line says so. No limit is set to the number of its files and processes; whoever fears more
grades in a container.
"""
import ast
import csv
import io
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lib import ROOT, InputError
from lib.report.page import write_html
from lib.report.runs import write_atomic
from lib.teaching import handouts, runner
from lib.teaching.handouts import marks
from lib.teaching.judge import Cell, blank_of, names, plain

SUBMISSION = 64 << 20               # bytes, at most
UNCONFINED = ("this system cannot confine a program (Landlock, Linux 5.13 or later): students' code can read and write "
              "your files")


@dataclass
class Row:
    """What a submission gets for one exercise. points: None where a person must read the answer."""

    name: str
    exercise: str
    points: float | None
    maximum: float
    remark: str = ""
    trouble: bool = False           # something about the file that a teacher should look at
    hints: list = field(default_factory=list)


# ---------------------------------------------------------------- the source
def read_source(path):
    """The source's cells. InputError for wrong marks."""
    source = handouts.read(path)
    cells = [Cell(cell.cell_type, cell.source, marks(cell).get("grade_id"), bool(marks(cell).get("solution")),
                  float(marks(cell)["points"]) if marks(cell).get("grade") or marks(cell).get("task") else None,
                  theirs.source)
             for cell, theirs in zip(source.cells, handouts.student(source).cells, strict=True)]
    wanted = set()
    for cell in reversed(cells):
        if cell.kind == "code":
            cell.source = re.sub(r"(?m)^([ \t]*)[%!].*$", r"\1pass", cell.source)        # magics
            cell.blank = blank_lines(cell)
            loaded, bound = names(cell.source)
            if cell.test or cell.solution:
                wanted |= loaded - bound
            elif bound & wanted:
                cell.needed = True
                wanted |= loaded
    return cells


def blank_lines(cell):
    """The numbers of a cell's lines that a student writes, with those of the marks around them."""
    found, line = set(), 0
    for kind, _, lines in handouts.regions(cell.source, cell.name):
        if kind == "SOLUTION":
            found |= set(range(line, line + len(lines) + 2))
        line += len(lines) + 1
    return found


def exercise_of(name, source):
    """The graded cell to which a remark on the cell `name` belongs: itself, or the next test."""
    start = next(i for i, cell in enumerate(source) if cell.name == name)
    return next((cell.name for cell in source[start:] if cell.graded), [c.name for c in source if c.graded][-1])


# ---------------------------------------------------------------- a submission
def read_submission(path):
    """The cells of a student's file and remarks on it: what can be read is read. InputError if nothing can."""
    path, remarks = Path(path), []
    try:
        data = path.read_bytes() if path.is_file() and path.stat().st_size <= SUBMISSION else None
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror})") from None
    if data is None:
        raise InputError(f"expected a file of at most {SUBMISSION >> 20} MB")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        conflict = re.search(rb"(?m)^(<<<<<<<|>>>>>>>) ", data)
        raise InputError("the file holds an unfinished merge (<<<<<<<)" if conflict else
                         "the file is empty" if not data.strip() else "the file is not a notebook (no JSON)") from None
    content = content if isinstance(content, dict) else {}
    found = content.get("cells")
    if found is None and isinstance(content.get("worksheets"), list):        # nbformat 3
        sheets = [sheet for sheet in content["worksheets"] if isinstance(sheet, dict)]
        found = [cell for sheet in sheets if isinstance(sheet.get("cells"), list) for cell in sheet["cells"]]
        remarks.append("the notebook has an old format (3)")
    if not isinstance(found, list):
        raise InputError("the file is not a notebook (no list of cells)")
    cells = [read_cell(cell) for cell in found]
    if None in cells:
        remarks.append(f"cells that cannot be read: {cells.count(None)}")
    cells = [cell for cell in cells if cell]
    if not any(cell.source.strip() for cell in cells):
        raise InputError("the notebook is empty")
    return cells, remarks


def read_cell(cell):
    """A cell of a submission, None if it is none."""
    if not isinstance(cell, dict):
        return None
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
    found = metadata.get("nbgrader") if isinstance(metadata.get("nbgrader"), dict) else {}
    name = found.get("grade_id") if isinstance(found.get("grade_id"), str) else None
    if not isinstance(source, str):
        return None
    source = source.encode("utf-8", "replace").decode()                         # half a surrogate pair
    return Cell("code" if cell.get("cell_type") == "code" else "markdown", source, name)


def match(cells, source):
    """Name the submission's cells as the source's; a test that is missing comes back in its place.

    Returns {name of an exercise: remarks}.
    """
    known, remarks = {cell.name: cell for cell in source if cell.name}, {}

    def remark(name, words):
        remarks.setdefault(exercise_of(name, source), []).append(words)

    for cell in cells:
        cell.name = cell.name if cell.name in known else None
    for name, original in known.items():
        if not any(cell.name == name for cell in cells):
            first = original.visible.partition("\n")[0].strip()
            for cell in cells:
                if not cell.name and first and cell.source.strip().partition("\n")[0].strip() == first:
                    cell.name = name
                    remark(name, f"the cell {name!r} has lost its nbgrader metadata and was known by its first line")
                    break
    for name, original in known.items():
        same = [cell for cell in cells if cell.name == name]
        for cell in same:
            if cell.kind != original.kind:
                cell.kind = original.kind
                remark(name, f"the cell {name!r} had become another kind of cell")
        if len(same) > 1:
            remark(name, f"the cell {name!r} is there {len(same)} times: " + (
                "all run, in their order" if original.kind == "code" and not original.test else "the last one counts"))
        for cell in same[:-1]:
            cell.name = None if original.kind != "code" or original.test else name
            cell.kind = "markdown" if original.test else cell.kind              # an earlier copy of a test does not run
        if not same:
            remark(name, f"the cell {name!r} is missing")
            if original.test:
                before = {cell.name for cell in source[:source.index(original)]} - {None}
                place = max((i + 1 for i, cell in enumerate(cells) if cell.name in before), default=len(cells))
                cells.insert(place, Cell("code", original.visible, name))
    return remarks


# ---------------------------------------------------------------- a class
def grade_all(source, files, out, jobs=2, timeout=10, limit=90):
    """Grade students' notebooks, the paths `files`, by the handout `source` (a path), `jobs` at a time.

    Writes grades.csv and feedback/NAME.html to the folder `out` and prints a line for each submission. A cell or test
    may take `timeout` seconds, a submission `limit`. Returns the Rows, one for each submission and exercise; those with
    `trouble` want a look at the file. InputError if the handout's own solution does not pass its tests.
    """
    if os.name == "nt":
        raise InputError("grading needs Linux or macOS: on Windows, call it in WSL")
    source = read_source(source)
    if not runner.landlock():
        print(UNCONFINED, file=sys.stderr)
    rows, workers, free = [], [Worker(source, timeout, limit) for _ in range(jobs)], queue.SimpleQueue()
    for worker in workers:
        free.put(worker)

    def results(cells):
        if cells is None:
            return None
        worker = free.get()
        try:
            return worker.judge(cells)
        finally:
            free.put(worker)

    pool = ThreadPoolExecutor(jobs)
    try:
        own = pool.submit(results, [Cell(cell.kind, cell.source, cell.name) for cell in source])
        opened = [(name, *read(file, source)) for name, file in titles(files).items()]
        found = [pool.submit(results, cells) for _, cells, _ in opened]
        check_own(own.result())
        for (name, cells, remarks), result in zip(opened, found, strict=True):
            mine = fill_in(name, source, cells, remarks, result.result())
            write_feedback(name, mine, source, cells, Path(out) / "feedback" / f"{name.replace('/', '_')}.html")
            print(summary(name, mine), flush=True)
            rows += mine
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.close()
    write_csv(rows, Path(out) / "grades.csv")
    return rows


class Worker:
    """A process that judges (judge.work), started again if it is killed."""

    def __init__(self, source, timeout, limit):
        self.settings, self.limit, self.process = (source, imported(source), timeout, limit), limit, None

    def judge(self, cells):
        """What judge.judge makes of a submission; None if the process came to an end over it."""
        if not self.process:
            self.pipe, there = Pipe()
            code = f"from lib.teaching.judge import work; work({there.fileno()})"
            self.process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, pass_fds=[there.fileno()])
            there.close()
        try:
            self.pipe.send((*self.settings, cells))
            if self.pipe.poll(self.limit + 60):
                return self.pipe.recv()
        except (EOFError, OSError):
            pass
        self.close()
        return None

    def close(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.pipe.close()
            self.process = None


def imported(source):
    """The modules that the handout imports at the top of its cells, to import them once for all."""
    nodes = [node for cell in source if cell.needed for node in ast.parse(cell.source).body]
    return [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names] + [
        node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]


def check_own(result):
    """InputError if the handout's own solution does not pass."""
    wrong = [f"{name}: {words or 'it fails'}" for name, (passed, words, _) in (result or {}).items() if not passed]
    if wrong or result is None:
        words = "; ".join(wrong) or "the process ended"
        raise InputError(f"the handout's own solution does not pass its tests ({words})")


def titles(files):
    """{name: path} of the files: a name is the stem, or as much of the path as tells it from the others."""
    paths = list(dict.fromkeys(Path(os.path.abspath(file)) for file in files))
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        found = [plain("/".join((path.parent / path.stem).parts[-length:]), 100) for path in paths]
        if len(set(found)) == len(found):
            return dict(zip(found, paths, strict=True))
    return {f"{number}. {plain(path.name, 100)}": path for number, path in enumerate(paths, 1)}


def read(file, source):
    """(cells, {exercise: remarks}) of a file, (None, {"": remarks}) if it cannot be read."""
    try:
        cells, whole = read_submission(file)
    except InputError as error:
        return None, {"": [str(error)]}
    remarks = match(cells, source)
    return cells, remarks | ({"": whole} if whole else {})


def fill_in(name, source, cells, remarks, result):
    """The Rows of a submission."""
    rows = []
    answers = {cell.name: cell.source.strip() for cell in cells or []}
    for cell in source:
        if not cell.graded:
            continue
        notes = ([] if cells and rows else remarks.get("", [])) + remarks.get(cell.name, [])   # of the file: once
        row = Row(name, cell.name, None, cell.points, trouble=bool(notes))
        if cells and cell.test:
            passed, words, row.hints = (result or {}).get(cell.name, (False, "the grading was ended", []))
            row.trouble |= result is None
            row.points = cell.points if passed else 0.0
            notes = notes + [words] if words else notes
        elif cells and cell.name in answers:
            empty = cell.solution and answers[cell.name] in ("", cell.visible.strip())
            row.points = 0.0 if empty else None
            notes = notes + ["not answered" if empty else "for a person to read"]
        row.remark = "; ".join(notes)
        rows.append(row)
    return rows


def summary(name, rows):
    """A line for the terminal, and one below for each trouble."""
    sure = [row for row in rows if row.points is not None]
    line = f"{name}: {sum(row.points for row in sure):g} of {sum(row.maximum for row in sure):g} points"
    if open_ := [row for row in rows if row.points is None]:
        line += f", {sum(row.maximum for row in open_):g} more to be given by a person"
    return "\n".join([line, *dict.fromkeys(f"  {row.exercise}: {row.remark}" for row in rows if row.trouble)])


def write_csv(rows, path):
    """A table with a line for each submission and exercise; no cell of it is a formula in a spreadsheet."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["name", "exercise", "points", "maximum", "remark"])
    for row in rows:
        points = "" if row.points is None else f"{row.points:g}"
        words = [re.sub(r"^(?=[=+\-@])", "'", word) for word in (row.name, row.exercise, row.remark)]
        table.writerow([*words[:2], points, f"{row.maximum:g}", words[2]])
    return write_atomic(path, text.getvalue())


# ---------------------------------------------------------------- feedback
def write_feedback(name, rows, source, cells, path):
    """The page for a student: points, and for each test that failed why, a hint, and the answer."""
    answers = {cell.name: cell.source for cell in cells or [] if cell.name}
    table = [f"| {row.exercise} | {'' if row.points is None else f'{row.points:g}'} | {row.maximum:g} | "
             f"{quoted(row.remark or 'right')} |" for row in rows]
    page = [new_markdown_cell("\n".join([
        f"# Feedback: {quoted(name)}", "", f"*{quoted(summary(name, rows).splitlines()[0])}*", "",
        "| exercise | points | of | remark |", "| --- | ---: | ---: | --- |", *table]))]
    for row in rows:
        blank = blank_of(row.exercise, source)
        if row.points == 0 and blank in answers and row.remark != "not answered":
            hints = [f"**Hint.** {quoted(hint)}" for hint in row.hints]
            words = [f"## {row.exercise}", quoted(row.remark), *hints, "Your cell:"]
            page += [new_markdown_cell("\n\n".join(words)),
                     new_code_cell(answers[blank][:5000], metadata={"tags": ["show-input"]})]
    with tempfile.TemporaryDirectory() as place:
        nbformat.write(new_notebook(cells=page), Path(place) / "page.ipynb")
        return write_html([Path(place) / "page.ipynb"], path)


def quoted(text):
    """Words of a stranger as Markdown that means just these words."""
    return "".join(c if c.isalnum() or c in " ,;:" else f"&#{ord(c)};" for c in plain(text, 1000))
