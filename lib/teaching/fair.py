"""Steps that a course folder adds to nbgrader's: what a fair teacher would do by hand before and after a test runs.

`Mend` prepares a submission, `Patient` runs it, `Remarks` tells student and teacher what happened.
"""
import ast
import copy
import itertools
import os
import re
from collections import Counter

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_code_cell, new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from nbgrader.utils import is_grade, is_solution
from traitlets import Integer

from lib.teaching.handouts import marks
from lib.teaching.limits import SECONDS

STUB = re.compile(r"(?m)^[ \t]*raise NotImplementedError\(\)[ \t]*\n?")
NOT_HERE = re.compile(r"(?m)^([ \t]*)(?=!|%(?:pip|conda|mamba|matplotlib)\b|(?:from|import) google\b)")
LIMITS = ("TimeLimit", "MemoryError", "DeadKernelError")


def first_line(cell):
    return cell.source.strip().partition("\n")[0].strip()


def note(cell, text):
    """Leave a remark on a cell, for `Remarks`."""
    cell.metadata.setdefault("remarks", []).append(text)


# ---------------------------------------------------------------- before
class Mend(NbGraderPreprocessor):
    """Give each answer its place in the exercise, and leave out what only runs on the student's machine."""

    def preprocess(self, nb, resources):
        names = resources["nbgrader"]
        release = nbformat.read(f"release/{names['assignment']}/{names['notebook']}.ipynb", as_version=4)
        known, before = {cell.source.strip() for cell in release.cells}, []
        for original in filter(marks, release.cells):
            name = marks(original).grade_id
            same = [cell for cell in nb.cells if marks(cell).get("grade_id") == name]
            if not same:
                same = [cell for cell in nb.cells if not marks(cell) and first_line(cell) == first_line(original)][-1:]
            if not same and is_grade(original):
                same = [copy.deepcopy(original)]
                last = max((i for i, cell in enumerate(nb.cells) if marks(cell).get("grade_id") in before), default=-1)
                nb.cells.insert(last + 1, same[0])
                note(same[0], "this cell was missing and is back")
            before.append(name)
            for cell in same:
                cell.metadata.nbgrader = copy.deepcopy(marks(original))
            if same and is_grade(original) and is_solution(original):
                gather(nb, same, original, known)
            elif same and is_solution(original):
                delete_stub(same, original)
            for cell in same[:-1]:                  # an earlier copy runs, too
                del cell.metadata["nbgrader"]
        for cell in nb.cells:
            cell.metadata["own"] = is_own(cell, known)
            if cell.cell_type == "code":
                cell.source = NOT_HERE.sub(r"\1pass  # not run when graded: ", cell.source)
        return nb, resources


def is_own(cell, known):
    """Whether a cell is none of the exercise's, whose texts are `known`."""
    return not marks(cell) and cell.source.strip() not in known


def gather(nb, same, original, known):
    """Put a written answer into one cell: its copies that were filled in, or else own cells below the question."""
    *gone, cell = same
    parts = [c.source for c in same if c.source.strip() != original.source.strip()]
    if not parts:
        below = nb.cells[next(i for i, c in enumerate(nb.cells) if c is cell) + 1:]
        below = list(itertools.takewhile(lambda c: is_own(c, known) and is_prose(c), below))
        if any(c.source.strip() for c in below):
            parts, gone = [c.source for c in (cell, *below)], gone + below
            note(cell, "the answer was in a cell below the question")
    cell.source = "\n\n".join(dict.fromkeys(parts)) or cell.source
    nb.cells = [c for c in nb.cells if not any(c is other for other in gone)]


def delete_stub(same, original):
    """Delete `raise NotImplementedError()` where it was left beside a student's lines."""
    for cell in same:
        if own_lines(cell.source) - own_lines(original.source):
            cell.source, number = STUB.subn("", cell.source)
            if number:
                note(cell, "raise NotImplementedError() was left beside the answer; it was deleted")


def own_lines(source):
    return {line.strip() for line in source.splitlines() if line.strip() and not line.strip().startswith("#")}


def is_prose(cell):
    """Whether a cell holds words: Markdown, comments only, or code that is none."""
    try:
        return cell.cell_type != "code" or not ast.parse(TransformerManager().transform_cell(cell.source)).body
    except SyntaxError:
        return True


# ---------------------------------------------------------------- while it runs
class Patient(Execute):
    """Run a submission within limits.

    Before a limit costs points it runs a second time with twice the time. A cell that ends its process twice is left
    out, the others run. What follows an error in a student's own cell, an import say, runs all the same.
    """

    extra_arguments = ["--HistoryManager.hist_file=:memory:", "--IPKernelApp.extra_extensions=lib.teaching.limits"]
    timeout, startup_timeout, iopub_timeout = None, 600, 600        # a busy machine answers late
    seconds = Integer(10, help="processor time of a cell").tag(config=True)

    def preprocess(self, nb, resources=None, km=None):
        original, ended, self.left_out = nb, Counter(), set()
        for attempt in range(10):
            os.environ[SECONDS] = str(self.seconds * min(attempt + 1, 2))
            try:
                nb, resources = super().preprocess(copy.deepcopy(original), resources)
            except DeadKernelError:
                ended[self.place] += 1
                self.left_out |= {place for place, number in ended.items() if number == 2}
                continue
            if attempt or not any(error(cell) and error(cell).ename in LIMITS for cell in nb.cells):
                return nb, resources
        raise DeadKernelError("the cells of this notebook end their process again and again")

    def preprocess_cell(self, cell, resources, index):
        self.place = index
        if index in self.left_out:
            cell.outputs = [new_output("error", ename="DeadKernelError", evalue="the cell ended its process",
                                       traceback=["The cell ended its process, or took too much memory."])]
            return cell, resources
        cell, resources = super().preprocess_cell(cell, resources, index)
        if error(cell) and error(cell).ename not in LIMITS and not marks(cell):
            for piece in pieces(cell.source):
                self.execute_cell(new_code_cell(piece), index)
            self.nb.cells[index] = cell
        return cell, resources


def error(cell):
    """The error that a cell ended with, None without one."""
    return next((output for output in cell.get("outputs", []) if output.output_type == "error"), None)


def pieces(source):
    """The statements of a cell, [] if it is no Python."""
    try:
        text = TransformerManager().transform_cell(source)
        return [ast.unparse(node) for node in ast.parse(text).body]
    except SyntaxError:
        return []


# ---------------------------------------------------------------- after
class Remarks(NbGraderPreprocessor):
    """Name what went wrong outside of a test, for student and teacher, and ask the teacher to look where it may matter.

    A remark is nbgrader's automatic comment on the answer that a test judges.
    """

    def preprocess(self, nb, resources):
        names = resources["nbgrader"]
        where = names["notebook"], names["assignment"], names["student"]
        answer, happened, look_closer = None, [], False
        with Gradebook(names["db_url"]) as book:
            for cell in nb.cells:
                remarks, ended = cell.metadata.pop("remarks", []), error(cell)
                answer = cell if is_solution(cell) else answer
                look = is_grade(cell) and not is_solution(cell) and bool(remarks)
                cause = ended and f"the cell {first_line(cell)[:60]!r} ended with {ended.ename}: {ended.evalue[:200]}"
                if ended and not is_grade(cell):
                    happened.append(cause)
                    look_closer |= bool(cell.metadata.get("own")) or ended.ename in LIMITS
                elif ended:
                    look |= look_closer or ended.ename in LIMITS
                    remarks = [*happened, *remarks, *([cause] if ended.ename in LIMITS else [])]
                if remarks and answer is not None:
                    comment = book.find_comment(marks(answer).grade_id, *where)
                    lines = [*(comment.auto_comment or "").splitlines(), *(f"{r[0].upper()}{r[1:]}." for r in remarks)]
                    comment.auto_comment = "\n".join(dict.fromkeys(lines))
                if look:
                    book.find_grade(marks(cell).grade_id, *where).needs_manual_grade = True
            book.db.commit()
        return nb, resources
