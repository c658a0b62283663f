"""Exercises: one source notebook with nbgrader's marks becomes a course folder of nbgrader's, and pages to print.

A source is a notebook as nbgrader reads it: cells with its metadata, and regions between the lines `### BEGIN SOLUTION`
and `### END SOLUTION`, `### BEGIN HIDDEN TESTS` and `### END HIDDEN TESTS`. nbgrader makes the students' version:
blanks in the place of solutions, no hidden tests. Cells with the tag `plumbing` are not printed.
"""
import copy
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config, PyFileConfigLoader

from lib import ROOT, InputError
from lib.processes import kernel_sockets
from lib.report.page import write_html
from lib.report.pdf import write_pdf
from lib.report.runs import write_atomic

SOURCES = ROOT / "notebooks" / "handouts"
CONFIG = """\
# nbgrader's settings for this course folder; its own commands and formgrader read them, too.
from pathlib import Path

from nbgrader import preprocessors as steps
from nbgrader.converters import Autograde, GenerateFeedback

from lib.teaching.fair import Mend, Patient, Remarks

c = get_config()
c.CourseDirectory.root = str(Path(__file__).parent)
c.CourseDirectory.db_url = f"sqlite:///{Path(__file__).parent}/gradebook.db?timeout=300"
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\\nraise NotImplementedError()"}
c.Autograde.sanitize_preprocessors = [Mend, *Autograde.sanitize_preprocessors.default()]
c.Autograde.autograde_preprocessors = [Patient, *Autograde.autograde_preprocessors.default()[1:], Remarks]
c.GenerateFeedback.preprocessors = [steps.ClearHiddenTests, *GenerateFeedback.preprocessors.default()]
c.IgnorePattern.enabled, c.IgnorePattern.pattern = True, "(?s).*"       # a warning costs no points
"""


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


# ---------------------------------------------------------------- nbgrader
def course_api(course, config=None):
    """nbgrader's API for a course folder. config: more settings, a traitlets Config."""
    from nbgrader.apps import NbGraderAPI
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])   # alembic
    settings = PyFileConfigLoader("nbgrader_config.py", str(course)).load_config()
    settings.merge(config or {})
    return NbGraderAPI(config=settings)


def check(done, name):
    """InputError, naming the file `name`, if a command of nbgrader's API was not done."""
    if not done["success"]:
        log = done.get("log", "") + done["error"]
        reason = re.findall(r"(?m)^\s*[\w.]*(?:Error|Exception): (.+)", log) or log.splitlines()[-1:]
        raise InputError(f"{name}: nbgrader refuses it: {reason[0]}")


def make_course(source, course):
    """Write the exercise `source` (a path) as a course folder: config, source, release and gradebook.

    What was graded there stays. InputError if nbgrader refuses the source.
    """
    if not (course / "nbgrader_config.py").exists():
        write_atomic(course / "nbgrader_config.py", CONFIG)
    folder = course / "source" / source.stem
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, folder / f"{source.stem}.ipynb")
    check(course_api(course).generate_assignment(source.stem), source.name)
    return course / "release" / source.stem / f"{source.stem}.ipynb"


# ---------------------------------------------------------------- its versions
def make(path, out):
    """Write the course folder of the source `path` to `out`, and in it student.ipynb, instructor.ipynb and their PDFs.

    Returns their paths. InputError for wrong marks; CellExecutionError, and no files, if a solution or test fails.
    """
    path, out = Path(path), Path(out)
    release = make_course(path, out)
    source = nbformat.read(path, as_version=4)
    solutions = instructor(source)
    execute(solutions)
    written = [write_atomic(out / "student.ipynb", release.read_text(encoding="utf-8")),
               print_out(paper(source, solutions), out / "student.pdf")]
    return [*written, write_atomic(out / "instructor.ipynb", nbformat.writes(solutions) + "\n"),
            print_out(solutions, out / "instructor.pdf")]


def paper(notebook, executed):
    """The version for students to print: room to write, and the pictures that the exercise's own cells show."""
    from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions
    space = "# YOUR CODE HERE" + "\n\u00a0" * 11                        # the page would cut lines that are empty
    stubs = Config({"ClearSolutions": {"text_stub": '<div class="line"></div>\n' * 9, "code_stub": {"python": space}}})
    printed = copy.deepcopy(notebook)
    for step in (ClearSolutions, ClearHiddenTests):
        printed, _ = step(config=stubs).preprocess(printed, {})
    for cell, run in zip(printed.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs = [] if marks(cell) else [o for o in run.outputs if o.output_type == "display_data"]
    return printed


def instructor(notebook):
    """The version for instructors: a heading where a mark was, an answer as a quotation."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(r"### BEGIN (SOLUTION|HIDDEN TESTS)", lambda mark: f"# {mark[1].lower()}", cell.source)
            cell.source = re.sub(r"(?m)^[ \t]*### END .*\n?", "", cell.source).rstrip()
        else:
            cell.source = re.sub(r"(?s)### BEGIN SOLUTION\n(.*?)\n### END SOLUTION", lambda answer: "\n".join(
                f"> {line}" for line in f"**Answer.** {answer[1]}".split("\n")), cell.source)
    return notebook


def execute(notebook):
    """Run a notebook in place, in a kernel of its own and an empty folder."""
    with kernel_sockets() as config, tempfile.TemporaryDirectory(prefix="handout-") as folder:
        NotebookClient(notebook, kernel_name="python3", config=config, shutdown_kernel="immediate", timeout=600,
                       resources={"metadata": {"path": folder}}).execute()


def print_out(notebook, pdf):
    """Set a notebook as a PDF with its code. A question stays on one page with the room for its answer, and a paragraph
    with the equations that follow it."""
    notebook = copy.deepcopy(notebook)
    notebook.cells = [cell for cell in notebook.cells if "plumbing" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            whole = r"(?s).+" if marks(cell) else r"(?m)^[^\n]+\n\n(?:\$\$(?:(?!\$\$).)+\$\$(?:\n\n|\Z))+"
            cell.source = re.sub(whole, '<div class="question">\n\n\\g<0>\n\n</div>\n\n', cell.source)
        cell.metadata = {"tags": ["show-input"]}
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(notebook, Path(folder) / pdf.with_suffix(".ipynb").name)
        return write_pdf(write_html([Path(folder) / pdf.with_suffix(".ipynb").name], Path(folder) / "page.html"), pdf)
