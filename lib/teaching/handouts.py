"""Handouts: one source notebook with nbgrader's marks -> a version for students and one for instructors.

A source is a notebook as nbgrader reads it: cells with its metadata (schema 3), and regions between the lines
`### BEGIN SOLUTION` and `### END SOLUTION` (of a solution cell), `### BEGIN HIDDEN TESTS` and `### END HIDDEN TESTS`
(of a graded test); a task may have a `MARK SCHEME`. Students get blanks for solutions and no hidden tests; instructors
get everything, executed.
"""
import copy
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

from lib import ROOT, InputError
from lib.processes import kernel_sockets
from lib.report.page import write_html
from lib.report.pdf import write_pdf
from lib.report.runs import write_atomic

SOURCES = ROOT / "notebooks" / "handouts"
MARK = re.compile(r"(\s*).*(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)")       # what nbgrader takes for a mark


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
def student(notebook, answer="YOUR ANSWER HERE", code="# YOUR CODE HERE\nraise NotImplementedError()"):
    """The version for students, as nbgrader makes it, with a stub in the place of each solution.

    InputError if nbgrader is not installed, or refuses the notebook.
    """
    try:
        from nbgrader import preprocessors as steps
    except ImportError:
        raise InputError("handouts are made with nbgrader: pip install -e '.[teach]'") from None
    stubs = Config({"ClearSolutions": {"text_stub": answer, "code_stub": {"python": code}}})
    notebook = bare(notebook)
    for step in (steps.LockCells, steps.ClearSolutions, steps.ClearHiddenTests, steps.ClearMarkScheme,
                 steps.CheckCellMetadata, steps.ComputeChecksums):
        notebook, _ = step(config=stubs).preprocess(notebook, {})
    return notebook


def paper(notebook, executed):
    """The version for students to print: room to write, and the pictures that the handout's own cells show."""
    lines = '<div class="line"></div>\n' * 9
    space = "# YOUR CODE HERE" + "\n\u00a0" * 11                        # the page would cut lines that are empty
    printed = student(notebook, answer=lines, code=space)
    for cell, run in zip(printed.cells, executed.cells, strict=True):
        if cell.cell_type == "code" and not marks(cell):
            cell.outputs = [o for o in run.outputs if o.output_type == "display_data"]
    return printed


def instructor(notebook):
    """The version for instructors: a heading where a mark was, an answer as a quotation."""
    notebook = bare(notebook)
    for cell in notebook.cells:
        parts = regions(cell.source, "")
        cell.source = "\n".join(line for part in parts for line in (solved(cell, *part) if part[0] else part[2]))
    return notebook


def solved(cell, kind, indent, lines):
    if cell.cell_type == "code":
        return [f"{indent}# {kind.lower()}", *lines]
    return [f"> {line}" for line in [f"**{'Answer' if kind == 'SOLUTION' else 'Marks'}.** {lines[0]}", *lines[1:]]]


def bare(notebook):
    """A copy without outputs, and without metadata but nbgrader's."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = {k: v for k, v in notebook.metadata.items() if k in ("kernelspec", "language_info")}
    for cell in notebook.cells:
        cell.metadata = {"nbgrader": marks(cell)} if marks(cell) else {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def execute(notebook, **options):
    """Run a notebook in place, in a kernel of its own and an empty folder. options: of nbclient, as timeout=600 (s)."""
    with kernel_sockets() as config, tempfile.TemporaryDirectory(prefix="handout-") as folder:
        NotebookClient(notebook, kernel_name="python3", config=config, shutdown_kernel="immediate",
                       resources={"metadata": {"path": folder}}, **{"timeout": 600, **options}).execute()


def make(path, out):
    """Write student.ipynb, student.pdf, instructor.ipynb and instructor.pdf of the source `path` to `out`; their paths.

    InputError for wrong marks, CellExecutionError if the instructor's version fails; then nothing is written.
    """
    source = read(path)
    blanks, solutions = student(source), instructor(source)
    execute(solutions)
    written = []
    for name, notebook, page in (("student", blanks, paper(source, solutions)),
                                 ("instructor", solutions, copy.deepcopy(solutions))):
        written += [write_atomic(Path(out) / f"{name}.ipynb", nbformat.writes(notebook) + "\n"),
                    print_out(page, Path(out) / f"{name}.pdf")]
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
