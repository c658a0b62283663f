"""Each recipe of lib/README.md, followed in a copy: it touches the files that it names, its district's tests pass, and
no run becomes stale that does not name what was added."""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from lib import ROOT

RECIPES = dict(re.findall(r"(?ms)^\*\*An? ([\w ]+)\.\*\* (.*?)(?=^\*\*|\Z)", (ROOT / "lib" / "README.md").read_text(encoding="utf-8")))
RECORDS = """
import json
from pathlib import Path
from lib.engine.plan import read_plan
from lib.engine.stale import Today
plan, file = read_plan("smoke"), Path("records.json")
values = {job.config.run_dir: job.values for job in plan.jobs}
today, before = Today(), json.loads(file.read_text()) if file.exists() else {}
print(json.dumps({job.label: today.record(job.step, job.values, values.get, before.get(job.label)) for job in plan.jobs}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project's code, and the records of the smoke plan's code before any change."""
    root = tmp_path_factory.mktemp("recipes")
    for name in ("lib", "notebooks", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("plans", "template", "articles"):
        shutil.copytree(ROOT / "reports" / name, root / "reports" / name)
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "records.json").write_text(records := python(root, "-c", RECORDS))
    return root, records


def python(root, *argv):
    done = subprocess.run([sys.executable, *argv], cwd=root, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def follow(copy):
    """follow(recipe, {file: [(old, new)]}, tests): the labels of the runs, but for the page, whose code
    the recipe changed."""
    root, before = copy
    kept = {}

    def edit(recipe, edits, tests):
        named = re.findall(r"`([\w/]+\.(?:py|md))`", RECIPES[recipe])
        folders = re.findall(r"in a module of `(\w+/)`", RECIPES[recipe])
        for file, pairs in edits.items():
            assert file in named or any(file.startswith(folder) for folder in folders), f"{recipe} names {named}"
            path = root / "lib" / file
            kept[path] = path.read_text(encoding="utf-8") if path.exists() else None
            text = kept[path] or ""
            for old, new in pairs:
                assert old in text
                text = text.replace(old, new, 1) if old else new
            path.write_text(text, encoding="utf-8")
        python(root, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *tests)
        records = (json.loads(text) for text in (before, python(root, "-c", RECORDS)))
        first, second = records
        return [label for label in first if first[label] != second[label] and not label.startswith("report/")]

    yield edit
    for path, text in kept.items():
        path.unlink() if text is None else path.write_text(text, encoding="utf-8")


pytestmark = pytest.mark.slow
SAMPLER = '''
def twin(predict, ac, times, x, noise):
    """Heun by another name."""
    yield from heun(predict, ac, times, x, noise)


SAMPLERS = {"twin": twin, '''


def test_a_sampler(follow):
    stale = follow("sampler", {"diffusion/samplers.py": [("\nSAMPLERS = {", SAMPLER)],
                               "diffusion/__init__.py": [('SAMPLERS = (', 'SAMPLERS = ("twin", ')]},
                   ["tests/diffusion/test_samplers.py", "tests/engine/test_parameters.py"])
    assert stale == []


def test_a_schedule(follow):
    new = '''
def flat_betas(T):
    """The same noise in every step."""
    return torch.full((T,), 1 - 1e-4 ** (1 / T), dtype=torch.float64)


SCHEDULES = {"flat": flat_betas, '''
    stale = follow("schedule", {"diffusion/schedules.py": [("\nSCHEDULES = {", new)],
                                "diffusion/__init__.py": [('SCHEDULES = (', 'SCHEDULES = ("flat", ')]},
                   ["tests/diffusion/test_process.py", "tests/engine/test_parameters.py"])
    assert [label for label in stale if not label.startswith("schedules/")] == []                  # page 10 shows them all


def test_a_data_set(follow):
    module = '''"""Digits by another name."""
from lib.data.digits import digits


def numbers(*, canvas=0, per_class=0, seed=0):
    """The digits."""
    return digits(canvas=canvas, per_class=per_class, seed=seed)
'''
    stale = follow("data set", {"data/numbers.py": [("", module)],
                                "data/__init__.py": [('DATASETS = {', 'DATASETS = {"numbers": "numbers", '),
                                                     ('"digits": ("canvas", "per_class"),',
                                                      '"digits": ("canvas", "per_class"),\n    "numbers": ("canvas", "per_class"),')]},
                   ["tests/data/test_load.py", "tests/engine/test_parameters.py"])
    assert stale == []


def test_an_arm(follow):
    new = '''    "real thrice": Arm(
        CONTROL, "the real images under a third name",
        lambda sources, options: sources.real()),
    "real + flip": Arm('''
    stale = follow("arm", {"study/__init__.py": [('    "real + flip": Arm(', new)]},
                   ["tests/study/test_arms.py", "tests/engine/test_parameters.py", "tests/report/test_tables_study.py"])
    assert stale == []


def test_a_figure(follow):
    new = '''def draw_accuracies(collected):
    return Drawn(slopes([1.0], [2.0], ["a"], ("x", "y")), collected.study, "arms")


class Drawing(NamedTuple):'''
    stale = follow("figure", {"report/drawings.py": [("class Drawing(NamedTuple):", new),
                                                     ("FIGURES = {", 'FIGURES = {\n    "accuracies": Drawing(draw_accuracies, "c", "a"),')]},
                   ["tests/report/test_tables_study.py"])
    assert stale == []


def test_a_step_names_files_that_are_there():
    assert all((ROOT / "lib" / file).is_file() for file in re.findall(r"`(\w+/\w+\.py)`", RECIPES["step"]))
