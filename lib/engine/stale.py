"""What of a plan is up to date, and why the rest is not: by what the files hold, never by their times.

A run is current if its result is whole and was made with the plan's parameters, by today's code, from the results that
its upstream runs have now, and from the images that its folder has now. So it stays current where the project is
copied, and a file that is gone or damaged is noticed.
"""
import ast
import hashlib
import json
import os
import re

from lib import ROOT, InputError
from lib.engine import parameters
from lib.engine.parameters import STEPS
from lib.engine.plan import COMPARED
from lib.engine.values import shown
from lib.report import runs

IN_REPORT = ("schedules", "report")                         # the steps whose notebooks the report shows


def stale(plan):
    """{label: why} of the runs that are to be made (again), in the order of the plan; empty: all is up to date."""
    found, code = {}, {step: code_hash(step) for step in dict.fromkeys(job.step for job in plan.jobs)}
    for job in plan.jobs:
        if words := why(job, found, code[job.step]) or (job.step == "report" and pages_differ(plan, job)):
            found[job.label] = words
    return found


def why(job, again, code):
    """In words, why a run is to be made (again), None for a current one. again: labels of stale runs; code: hash."""
    run = runs.run_at(job.config.run_dir)
    try:
        before = run.config
    except (OSError, ValueError):
        return "not made yet"
    if not run.finished:
        return "not finished"
    if changed := [f"{name} was {shown(before.get(name))} and is {shown(value)}" for name, value in job.values.items()
                   if before.get(name) != value]:
        return few(changed)
    if reads := [u.label for u in job.upstream if u.label in again]:
        return f"it reads {few(reads)}"
    try:
        result, made = runs.load(job.config.run_dir).result, run.provenance
        if not job.notebook.is_file():
            return "its executed notebook is missing"
        if made["code"] != code:
            return "its page, words or code have changed" if job.step == "report" else "its code has changed"
        now = {name: runs.content(ROOT / "reports" / "runs" / name) for name in made["upstream"]}
        if now != made["upstream"] or {runs.run_at(u.config.run_dir).name for u in job.upstream} - set(now):
            return "it was made from other results"
    except (InputError, OSError, ValueError, KeyError, TypeError) as error:
        return str(error) if isinstance(error, InputError) else "its record is incomplete"
    return "its images have changed" if images_differ(job, result) else None


def few(words):
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def images_differ(job, result):
    """Whether a training's folder of images is not what it learned from. One that is named nowhere is not asked."""
    if job.values.get("dataset") != "folder" or not (job.config.data_dir or os.environ.get("DREAMING_DATA_DIR")):
        return False
    from lib import data
    return data.check(job.config)["sha256"] != result.split


def pages_differ(plan, job):
    """In words, whether a page, the PDF or a table is not what the report's run made; None if all are."""
    from lib.report import article
    provenance = runs.run_at(job.config.run_dir).provenance
    if provenance.get("article", "") != article.digest(plan.name):
        return "its article has changed"
    made = provenance.get("pages", {})
    now = {name: file for name in made if (file := plan.html.parent / name).is_file()}
    same = {"report.html", "report.pdf"} <= set(now) and made == {name: runs.sha256(file) for name, file in now.items()}
    return None if same else "its page or PDF is missing or another one"


# ---------------------------------------------------------------- code
def code_hash(step):
    """Hash of what can change a step's results besides its parameters: its code cells and the lib modules they import.

    Saved outputs, comments, docstrings, explorers and the parameters cell (its values are compared) don't count, nor
    does the engine, which only starts notebooks. How results are shown and stored (lib.report) doesn't count where
    hours of work would be lost: a finished training keeps its old figures, and a result that can't be read any more is
    noticed by itself. Prose counts in the notebooks that the report shows. InputError names a cell that is no Python.
    """
    skipped = ("lib.engine.", "lib.report.") if step in COMPARED else ("lib.engine.",)
    file = STEPS[step].file
    kept = [(number, cell) for number, cell in enumerate(parameters.cells(file), 1)
            if not {"parameters", "explorer"} & set(cell.metadata.get("tags", []))]
    trees = [parameters.python_of(cell, f"notebooks/{file.name}, cell {number}")
             for number, cell in kept if cell.cell_type == "code"]
    code = {"cells": [ast.unparse(without_docstrings(tree)) for tree in trees]}
    todo = {name for tree in trees for name in imported(tree)}
    todo |= {f"lib.report.{name}" for name in ("assemble", "site", "page", "pdf")} if step == "report" else set()
    while todo:
        name = todo.pop()
        if name in code or f"{name}.".startswith(skipped) or not module_file(name).exists():
            continue
        try:
            tree = ast.parse(module_file(name).read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise InputError(f"{name}, line {error.lineno}: {error.msg}") from None
        todo |= imported(tree, name if module_file(name).name == "__init__.py" else name.rpartition(".")[0])
        code[name] = ast.unparse(without_docstrings(tree))
    if step in IN_REPORT:
        code["prose"] = [cell.source for _, cell in kept if cell.cell_type == "markdown"]
    digest = hashlib.sha256(json.dumps(code, sort_keys=True).encode())
    if step == "report":
        for file in sorted((ROOT / "reports").glob("template/**/*")):
            digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()[:16]


def module_file(name):
    """The file of a module or package in lib."""
    path = ROOT / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(tree, package="lib"):
    """The names in lib that the code of a module in `package` imports: `import lib.a`, `from lib import a, b`,
    `from .a import f`, f"lib.a.{name}" for importlib (all of lib.a), and the packages that they lie in."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = ".".join(parts[:len(parts) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, [above, node.module]))
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and re.fullmatch(r"lib\.\w+\.", str(node.value)):
            names |= {node.value + file.stem for file in (ROOT / node.value.replace(".", "/")).glob("*.py")}
    names |= {".".join(parts[:k]) for parts in (n.split(".") for n in names) for k in range(1, len(parts))}
    return {n for n in names if n.split(".")[0] == "lib"}


def without_docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return tree
