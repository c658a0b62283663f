"""Handouts: one source notebook with nbgrader's marks -> a version for students and one for instructors; grading.

A source is a notebook as nbgrader reads it: cells with its metadata (schema 3), and regions between the lines
`### BEGIN SOLUTION` and `### END SOLUTION` (of a solution cell), `### BEGIN HIDDEN TESTS` and `### END HIDDEN TESTS`
(of a graded test); a task may have a `MARK SCHEME`. Students get blanks for solutions and no hidden tests; instructors
get everything, executed.
"""
import copy
import os
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from traitlets.config import Config

from lib import ROOT, InputError
from lib.report.page import write_html
from lib.report.pdf import write_pdf
from lib.report.runs import write_atomic

SOURCES = ROOT / "notebooks" / "handouts"
MARK = re.compile(r"(\s*).*(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)")       # what nbgrader takes for a mark
BLANK = {"code": ["# YOUR CODE HERE", "raise NotImplementedError()"], "markdown": ["YOUR ANSWER HERE"]}     # its words


# ---------------------------------------------------------------- the source
def marks(cell):
    """nbgrader's metadata of a cell, {} if it has none."""
    return cell.metadata.get("nbgrader", {})


def find(name):
    """The path of the source called `name`: a stem in notebooks/handouts, or a path. InputError if there is none."""
    known = {path.stem: path for path in sorted(SOURCES.glob("*.ipynb"))}
    path = known.get(str(name), Path(name))
    if not path.is_file():
        raise InputError(f"notebook {str(name)!r}: expected one of {', '.join(known)}, or the path of a notebook")
    return path


def read(path):
    """The source notebook `path`. InputError, naming notebook and cell, for marks that do not fit each other."""
    path, names = Path(path), set()
    notebook = read_notebook(path)
    for number, cell in enumerate(notebook.cells, 1):
        where, found = f"{path.name}, cell {number}", marks(cell)
        kinds = {kind for kind, _, _ in regions(cell.source, where)} - {None}
        for kind, key in (("SOLUTION", "solution"), ("HIDDEN TESTS", "grade"), ("MARK SCHEME", "task")):
            if kind in kinds and not found.get(key):
                raise InputError(f"{where}: ### BEGIN {kind} in a cell whose nbgrader metadata lack \"{key}\": true")
        if found.get("solution") and "SOLUTION" not in kinds:
            raise InputError(f"{where}: a solution cell without ### BEGIN SOLUTION")
        schema, name = found.get("schema_version"), found.get("grade_id")
        if found and (schema != 3 or name in names | {None}):
            raise InputError(f"{where}: schema_version={schema}, grade_id={name!r}: expected 3 and a name of its own")
        names.add(name)
    if not names - {None}:
        raise InputError(f"{path.name}: expected cells with nbgrader metadata")
    return notebook


def read_notebook(path):
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a notebook ({type(error).__name__})") from None


def regions(source, where):
    """A cell's text in its parts: (kind, indent, lines), kind being None or one of MARK's.

    InputError for marks that are nested or have no partner, naming the cell `where`.
    """
    parts, opened = [(None, "", [])], None
    for line in source.split("\n"):
        mark = MARK.match(line)
        if not mark:
            parts[-1][2].append(line)
            continue
        indent, edge, kind = mark.groups()
        if edge == "BEGIN" and opened:
            raise InputError(f"{where}: ### BEGIN {kind} inside ### BEGIN {opened}")
        if edge == "END" and opened != kind:
            raise InputError(f"{where}: ### END {kind} without ### BEGIN {kind}")
        opened = kind if edge == "BEGIN" else None
        parts.append((opened, indent, []))
    if opened:
        raise InputError(f"{where}: ### BEGIN {opened} without ### END {opened}")
    return parts


# ---------------------------------------------------------------- its versions
def blank(cell, kind, indent, lines):
    """As nbgrader: a solution becomes a line to replace, a hidden test or mark scheme nothing."""
    return [indent + line for line in BLANK[cell.cell_type]] if kind == "SOLUTION" else []


def room(cell, kind, indent, lines):
    """On paper: a solution becomes room to write, half as much again as the solution takes."""
    if kind != "SOLUTION":
        return []
    if cell.cell_type == "code":
        return [f"{indent}# YOUR CODE HERE"] + ["\u00a0"] * (2 * len(lines) + 2)    # trailing empty lines would go
    return ['<div class="line"></div>'] * (2 + sum(len(line) for line in lines) // 60)


def solved(cell, kind, indent, lines):
    """For instructors: a heading where the mark was; an answer as a quotation."""
    if cell.cell_type == "code":
        return [f"{indent}# {kind.lower()}", *lines]
    return [f"> {line}" for line in [f"**{'Answer' if kind == 'SOLUTION' else 'Marks'}.** {lines[0]}", *lines[1:]]]


def version(notebook, fill):
    """A copy without outputs whose marked regions are what `fill(cell, kind, indent, lines)` makes of them."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = {k: v for k, v in notebook.metadata.items() if k in ("kernelspec", "language_info")}
    for cell in notebook.cells:
        parts = regions(cell.source, "")
        cell.source = "\n".join(line for part in parts for line in (fill(cell, *part) if part[0] else part[2]))
        cell.metadata = {"nbgrader": marks(cell)} if marks(cell) else {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def execute(notebook, **options):
    """Run a notebook in place, in a kernel of its own and an empty folder. options: of nbclient, as timeout=600 (s)."""
    with tempfile.TemporaryDirectory(prefix="nb-") as folder:
        config = Config() if os.name == "nt" else Config(           # as in plans.run_notebook: no two on one port
            {"KernelManager": {"transport": "ipc", "ip": os.path.join(folder, "k")}})
        NotebookClient(notebook, kernel_name="python3", config=config, shutdown_kernel="immediate",
                       resources={"metadata": {"path": folder}}, **{"timeout": 600, **options}).execute()


def make(path, out):
    """Write student.ipynb, student.pdf, instructor.ipynb and instructor.pdf of the source `path` to `out`; their paths.

    InputError for wrong marks, CellExecutionError if the instructor's version fails; then nothing is written.
    """
    source = read(path)
    instructor = version(source, solved)
    execute(instructor)
    written = []
    for name, notebook, paper in (("student", version(source, blank), version(source, room)),
                                  ("instructor", instructor, copy.deepcopy(instructor))):
        written += [write_atomic(Path(out) / f"{name}.ipynb", nbformat.writes(notebook) + "\n"),
                    print_out(paper, Path(out) / f"{name}.pdf")]
    return written


def print_out(notebook, pdf):
    """Set a notebook as a PDF with its code; a question stays on one page with the room for its answer."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and marks(cell):
            cell.source = f'<div class="question">\n\n{cell.source}\n\n</div>'
        cell.metadata = {"tags": ["show-input"]}
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(notebook, Path(folder) / pdf.with_suffix(".ipynb").name)
        return write_pdf(write_html([Path(folder) / pdf.with_suffix(".ipynb").name], Path(folder) / "page.html"), pdf)


# ---------------------------------------------------------------- grading
def grade(source, submission, timeout=60):
    """{grade_id: points} of a submission (a path) to the source (a path); None for an answer that a person must read.

    As nbgrader: the tests are the source's, whatever the submission's say, and one that fails gives no points. The
    student's code runs in a kernel of its own, with your rights; a cell that takes more than `timeout` seconds fails.
    InputError if a blank is missing.
    """
    notebook = read(source)
    answers = {marks(cell).get("grade_id"): cell.source for cell in read_notebook(submission).cells}
    for cell in notebook.cells:
        if marks(cell).get("solution"):
            if marks(cell)["grade_id"] not in answers:
                raise InputError(f"{submission}: the cell {marks(cell)['grade_id']!r} is missing")
            cell.source = answers[marks(cell)["grade_id"]]
    try:
        execute(notebook, allow_errors=True, timeout=timeout, interrupt_on_timeout=True)
    except (DeadKernelError, CellExecutionError):
        pass                                                # what did not end has no reply
    points = {}
    for cell in notebook.cells:
        if marks(cell).get("grade"):
            ended = "shell.execute_reply" in cell.metadata.get("execution", {})
            passed = ended and not any(o.output_type == "error" for o in cell.get("outputs", []))
            points[marks(cell)["grade_id"]] = marks(cell)["points"] * passed if cell.cell_type == "code" else None
    return points
