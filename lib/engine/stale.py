"""What of a plan is up to date, and why the rest is not: by what the files hold, never by their times.

A run is current if its result is whole and was made with the plan's parameters, by today's code, from the results that
its upstream runs have now, and from the images that its folder has now. So it stays current where the project is
copied, and a file that is gone or damaged is noticed. The images of a generation may be gone where every run that reads
them is current.
"""
import ast
import datetime
import os
import re

from lib import ROOT, InputError
from lib.engine import parameters
from lib.engine.definitions import Code, Modules, Use, short_hash, without_docstrings
from lib.engine.parameters import READS, STEPS
from lib.engine.plan import COMPARED, SET_BY_PLAN, in_root
from lib.engine.values import shown
from lib.report import runs

LONG = (*COMPARED, "external")                              # steps of hours, and those that bring their images
IN_REPORT = ("schedules", "report")                         # the steps whose notebooks the report shows


def stale(plan, forced=()):
    """{label: reason} of the runs that are to be made (again), in the order of the plan; empty: all is up to date.
    forced: labels of runs that count as not made."""
    code, needed = CodeOf(plan), {}
    while True:
        again = {}
        for job in plan.jobs:
            reason = "forced" if job.label in forced else why(job, again, code) or needed.get(job.label)
            if reason := reason or (job.step == "report" and pages_differ(plan, job)):
                again[job.label] = reason
        more = {u.label: f"its images are gone, and {job.label} needs them" for job in plan.jobs
                if job.label in again and job.step in ("augment", "dose")
                for u in job.upstream if u.label not in again and lacks_images(u)}
        if not more:
            return again
        needed |= more


def lacks_images(job):
    """Whether a finished run lacks one of its large files."""
    return any(name in runs.LARGE and not (job.folder / name).exists()
               for name in runs.run_at(job.config.run_dir).provenance.get("files", {}))


def accept(plan, because):
    """Take the finished runs of a plan whose code alone has changed as current: {label: what has changed}.

    Their records get today's code; the earlier one is kept there, with the date and the reason `because`. The report is
    not accepted but made again, as it tells of this. InputError where there is nothing to accept.
    """
    again, code, accepted = {}, CodeOf(plan), {}
    for job in plan.jobs:
        reason = why(job, again, code)
        if reason and job.step != "report" and why(job, again, code=None) is None:
            accepted[job.label] = reason
        elif reason:
            again[job.label] = reason
    if not accepted:
        raise InputError(f"plan {plan.name}: nothing to accept: no finished run is stale by its code alone")
    for job in plan.of("report"):
        (job.folder / "result.json").unlink(missing_ok=True)
    today = datetime.date.today().isoformat()
    for job in plan.jobs:
        if job.label in accepted:
            record = (run := runs.run_at(job.config.run_dir)).provenance
            entry = {"date": today, "because": because, "code": record["code"]}
            runs.write_json(run.path("provenance.json"), record | {
                "code": code.now(job), "accepted": [*record.get("accepted", []), entry]})
    return accepted


def why(job, again, code):
    """In words, why a run is to be made (again), None for a current one. again: labels of stale runs; code: the CodeOf
    the plan, None to leave the code out."""
    run = runs.run_at(job.config.run_dir)
    try:
        before = run.config
    except (OSError, ValueError):
        return "not made yet"
    if not run.finished:
        return "not finished"
    if set(job.values) - set(before):                       # a parameter that came later: as if it was at its default
        before = parameters.defaults(STEPS[job.step].file) | before
    if changed := [f"{name} was {shown(before.get(name))} and is {shown(value)}" for name, value in job.values.items()
                   if before.get(name) != value]:
        return few(changed)
    if reads := [u.label for u in job.upstream if u.label in again]:
        return f"it reads {few(reads)}"
    try:
        result, made = runs.load(job.config.run_dir, whole=False).result, run.provenance
        published = "published" in made                     # its network is what it is, whatever the code does now
        if not published and not job.notebook.is_file():
            return "its executed notebook is missing"
        if code and not published and (changed := code.changes(job)):
            return f"its code has changed: {few(changed)}"
        now = {name: runs.content(ROOT / "reports" / "runs" / name) for name in made["upstream"]}
        if now != made["upstream"] or {runs.run_at(u.config.run_dir).name for u in job.upstream} - set(now):
            return "it was made from other results"
    except (InputError, OSError, ValueError, KeyError, TypeError) as error:
        return str(error) if isinstance(error, InputError) else "its record is incomplete"
    return "its images have changed" if images_differ(job, result) else None


def few(words):
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def images_differ(job, result):
    """Whether folders of images do not hold what a run learned from. One that is named nowhere is not asked."""
    from lib import data
    there = job.values.get("dataset") == "folder" and (job.config.data_dir or os.environ.get("DREAMING_DATA_DIR"))
    if there and data.check(job.config)["sha256"] != result.split:
        return True
    if job.step != "external" or not (job.config.synthetic_dir or os.environ.get("DREAMING_SYNTHETIC_DIR")):
        return False
    from lib.data.external import external
    shape = data.load_for(job.values).image_shape
    return external(job.config.synthetic_dir, image_shape=shape, classes=result.classes).fingerprint != result.synthetic


def pages_differ(plan, job):
    """In words, whether a page, the PDF or a table is not what the report's run made; None if all are."""
    made = runs.run_at(job.config.run_dir).provenance.get("pages", {})
    now = {name: file for name in made if (file := plan.html.parent / name).is_file()}
    same = {"report.html", "report.pdf"} <= set(now) and made == {name: runs.sha256(file) for name, file in now.items()}
    return None if same else "its page or PDF is missing or another one"


# ---------------------------------------------------------------- code
class CodeOf:
    """The code that the runs of a plan use as it is now, beside what they were made with."""

    def __init__(self, plan):
        self.today, self.values = Today(), {job.config.run_dir: job.values for job in plan.jobs}

    def now(self, job):
        """The record of a job's code."""
        before = job_record(job)
        return self.today.record(job.step, job.values, self.values.get, before if isinstance(before, dict) else None)

    def changes(self, job):
        """The names of what has changed: definitions first that are others now, then those that came or went."""
        before, now = job_record(job), self.now(job)
        if not isinstance(before, dict):
            return ["it was recorded by file, not by definition"]
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        return sorted(names, key=lambda name: not (name in before and name in now))


def job_record(job):
    return runs.run_at(job.config.run_dir).provenance["code"]


class Today:
    """The code as it is now, each file read once, and what of it a run uses. notebook: the file of a step's notebook in
    place of the project's own."""

    def __init__(self, notebook=None):
        everything = Modules(ROOT).without("lib.engine")
        self.modules = {True: everything.without("lib.engine", "lib.report"), False: everything}    # COMPARED, or not
        self.notebook, self.read, self.records = notebook, {}, {}

    def record(self, step, values, values_of, before=None):
        """{name: hash} of what can change a run's results besides its parameters `values`: the code cells of its
        notebook, and the definitions of lib that they use (lib.engine.definitions says which those are).

        Saved outputs, comments, docstrings, explorers and the parameters cell (its values are compared) do not count,
        nor does the engine, which only starts notebooks. How results are shown and stored (lib.report) does not count
        where hours of work would be lost: a finished training keeps its old figures, and a result that can no longer be
        read is noticed by itself. Prose counts in the notebooks that the report shows; the report's template and its
        article count for the report. A file of Python that a parameter names counts like a cell.

        The entries of a registry count by the names in the parameters of the run and of the runs that it reads;
        values_of(run_dir) gives the parameters of those. before: an earlier record of the run. Where hours of work
        would be lost, an entry that came after it does not count, though its registry is used as a whole.
        InputError names a cell that is no Python.
        """
        named, given = chosen(values, values_of)
        before = frozenset(before) if before and step in LONG else None
        key = step, named, given, before, values.get("plan")
        if key not in self.records:
            self.records[key] = self.find(*key)
        return self.records[key]

    def find(self, step, named, given, before, plan):
        name, code, prose = self.read_notebook(step)
        also = [("lib.report.runs", "Run")]                 # what a cell uses without naming it
        also += [("lib.report.site", "write_site"), ("lib.report.assemble", "page")] * (step == "report")
        own = {text: code_of_file(file, text) for text in sorted(named) if (file := own_file(text))}
        codes = {name: code} | own
        used = Use(self.modules[step in LONG], *codes.values(), named=named, given=given, before=before, also=also)
        others = {name: code.text for name, code in codes.items()}
        others |= {f"{name} (prose)": prose} if step in IN_REPORT else {}
        files = [*(ROOT / "reports").glob("template/**/*"), ROOT / "reports" / "articles" / f"{plan}.md"]
        others |= {in_root(path): path.read_bytes() for path in files if step == "report" and path.is_file()}
        return {name: short_hash(text) for name, text in others.items()} | used.record()

    def read_notebook(self, step):
        """(name, Code of the cells, prose) of a step's notebook, without what does not count."""
        if step not in self.read:
            file = self.notebook or STEPS[step].file
            name = f"notebooks/{file.name}"
            kept = [(number, cell) for number, cell in enumerate(parameters.cells(file), 1)
                    if not {"parameters", "explorer"} & set(cell.metadata.get("tags", []))]
            code = Code([without_docstrings(parameters.python_of(cell, f"{name}, cell {number}"))
                         for number, cell in kept if cell.cell_type == "code"], "")
            prose = "\n\n".join(cell.source for _, cell in kept if cell.cell_type == "markdown")
            self.read[step] = name, code, prose
        return self.read[step]


def own_file(text):
    """The file of Python that a parameter names, FILE.py or FILE.py:NAME, from the repository; None for other texts."""
    known = re.fullmatch(r"([^\n]+\.py)(:\w+)?", text)
    file = ROOT / os.path.expanduser(known[1]) if known else None
    return file if file and os.path.isfile(file) else None


def code_of_file(file, name):
    """The Code of a user's file. InputError where it is no Python."""
    try:
        return Code([without_docstrings(ast.parse(file.read_bytes()))], "")
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{name}: expected a file of Python ({error})") from None


def chosen(values, values_of):
    """What parameters, and those of the runs that they name, choose: (the texts among the values, the names)."""
    texts, names = set(), set()
    for name, value in values.items():
        several = value if isinstance(value, list) else [value]
        if name in READS or name == "runs":
            for run_dir in several:
                for known, new in zip((texts, names), chosen(values_of(run_dir) or {}, values_of), strict=True):
                    known |= new
        elif name not in SET_BY_PLAN:
            names.add(name)
            texts |= {one for one in several if isinstance(one, str)}
    return frozenset(texts), frozenset(names)


def record_of(step, values, notebook=None):
    """The record of a run that begins now, with all its parameters; the runs that it reads are there. notebook: the
    file of its notebook, if it is another one than the project's."""
    def values_of(run_dir):
        try:
            return runs.run_at(run_dir).config
        except (OSError, ValueError):
            return {}
    return Today(notebook).record(step, values, values_of)
