"""A project of the same shape whose notebooks take no time, and our engine in it: as files, and in this process."""
import json
import os
import shutil
import textwrap

from lib import ROOT
from lib.engine import kernel, make, notebook, parameters, plan, stale
from lib.report import results, runs

CONFIGS = '''

# ---- stand-ins of the test: the same steps with few parameters
def stand_in(name, **fields):
    return dataclasses.make_dataclass(name, fields.items(), bases=(Config,), frozen=True, kw_only=True)


STEPS = {
    "schedules": Step("10_schedules", stand_in("SchedulesConfig", T=int, run_dir=str)),
    "train": Step("20_train_ddpm", stand_in(
        "TrainConfig", dataset=str, data_dir=str, schedule=Annotated[str, one_of("linear", "cosine")], seed=int,
        trouble=str, steps=Annotated[int, at_least(1)], lr=Annotated[float, above(0)], run_dir=str)),
    "generate": Step("30_generate", stand_in("GenerateConfig", train_run=str, images=int, seed=int, run_dir=str)),
    "augment": Step("40_augment", stand_in(
        "AugmentConfig", generate_runs=list[str], widths=list[int], clip=bool, run_dir=str)),
    "ablation": Step("50_ablation", stand_in("AblationConfig", runs=list[str], run_dir=str)),
    "report": Step("90_report", stand_in("ReportConfig", plan=str, title=str, about=str, runs=list[str],
                                         missing=list[str], run_dir=str)),
}
'''

RESULT = '''

@dataclasses.dataclass(frozen=True)
class Toy:
    """number: stands for all that the result depends on; split: the fingerprint of the images."""

    number: str
    split: str


STEPS["Toy"] = Toy
'''

WORK = '''"""The work of every notebook of the toy: a number that depends on all that it should depend on."""
import hashlib
import json

from lib.report.results import STEPS


def number(step, values, read, factor, split):
    """step, its parameters, the numbers of the runs that it reads, a constant of its code, its images."""
    values = {k: v for k, v in values.items() if k not in ("run_dir", "trouble")}
    return hashlib.sha256(json.dumps([step, values, read, factor, split], sort_keys=True).encode()).hexdigest()[:12]


def finish(run, read, factor=0, split=""):
    found = number(run.step, run.config, [r.result.number for r in read], factor, split)
    run.finish(STEPS["Toy"](found, split))
'''

DATA = '''"""The images of the toy: none, or the files of a folder."""
import hashlib

from lib import ROOT, InputError

DATASETS, SIDE, ALL_OPTIONS = {"toy": "", "folder": ""}, {}, ("data_dir",)


def to_download(settings):
    return None


def check(config):
    if config.dataset not in DATASETS:
        raise InputError(f"dataset={config.dataset!r}: expected toy or folder")
    files = sorted((ROOT / config.data_dir).iterdir()) if config.dataset == "folder" else []
    return {"sha256": hashlib.sha256("".join(f.name + f.read_text() for f in files).encode()).hexdigest()}
'''

PAGE = """
def write_html(notebooks, html, title=None, **others):
    html.parent.mkdir(parents=True, exist_ok=True)
    html.write_text(str(title) + "".join(n.read_text() for n in notebooks))
    return html
"""

SITE = """
def write_site(article, collected, folder, title=None, appendices=()):
    from lib.report.page import write_html
    from lib.report.pdf import write_pdf
    write_pdf(write_html([article], folder / 'report.html', title=title), folder / 'report.pdf')
"""
COLLECTED = """
def collect(runs, missing, plan, title, about):
    return runs
"""

PARAMETERS = {
    "10_schedules": "T = 100\nrun_dir = ''",
    "20_train_ddpm": "dataset = 'toy'\ndata_dir = ''\nschedule = 'linear'\nseed = 0\ntrouble = ''\nsteps = 10\nlr = 1e-3\nrun_dir = ''",
    "30_generate": "train_run = 'reports/runs/interactive/train/default'\nimages = 5\nseed = 0\nrun_dir = ''",
    "40_augment": "generate_runs = ['reports/runs/interactive/generate/default']\nwidths = [8]\nclip = True\nrun_dir = ''",
    "50_ablation": "runs = []\nrun_dir = ''",
    "90_report": "plan = 'tiny'\ntitle = ''\nabout = ''\nruns = []\nmissing = []\nrun_dir = ''",
}

EXTRA = {
    "20_train_ddpm": """
        import json, os, time
        import lib
        from lib import InputError, ROOT, data, maths, shapes
        factor, split = maths.FACTOR, data.check(config)["sha256"]
        if trouble == "error":
            1 / 0
        if trouble == "refused":
            raise InputError("steps=10: expected more")
        if trouble == "killed":
            os.kill(os.getpid(), 9)
        if trouble == "memory":
            bytearray(1 << 46)
        if trouble == "damaged":
            raise lib.DamagedError("data/x.bin: damaged")
        if trouble == "diverged":
            class Diverged(RuntimeError):
                "Stands for lib.diffusion.training's."
            raise Diverged("loss is nan by step 3")
        if trouble == "warns":
            import warnings
            warnings.warn(str(ROOT / "lib" / "maths.py"))
        (run.folder / "gpu").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
        while (ROOT / "slow").exists():
            (run.folder / "progress.json").write_text(json.dumps({"line": "3/10 steps, loss 0.5000"}))
            time.sleep(0.2)
        """,
    "40_augment": "from lib import maths\nfactor = maths.FACTOR",
}

PLAN = """\
title: A tiny plan
about: It tests the engine.
minutes: "1"
common: {seed: 7}
train:
  linear: {schedule: linear, lr: 1e-4}
  cosine: {schedule: cosine, steps: 20}
generate:
  linear: {train_run: linear}
  cosine: {train_run: cosine, images: 6}
augment:
  linear: {generate_runs: [linear]}
  cosine: {generate_runs: [cosine], widths: [8, 8]}
"""
JOBS = ["schedules/default", "train/linear", "train/cosine", "generate/linear", "generate/cosine", "augment/linear",
        "augment/cosine", "ablation/default", "report/default"]
REPORT = {"ablation/default", "report/default"}
LINEAR = {"train/linear", "generate/linear", "augment/linear"} | REPORT
COSINE = {job.replace("linear", "cosine") for job in LINEAR}
ONE = "train: {one: {}}\nschedules: {}\nablation: {}\n"                    # the smallest plan


def book(name):
    """The notebook `name`."""
    step = next(step for step, s in parameters.STEPS.items() if s.notebook == name)
    begin = f"from lib.engine.notebook import begin\nconfig, run, read = begin('{step}', globals())\nfactor, split = 0, ''"
    sources = [PARAMETERS[name], begin, textwrap.dedent(EXTRA.get(name, "")),
               "from lib import toy\nprint('work is done')\ntoy.finish(run, read, factor, split)"]
    cells = [{"cell_type": "code", "id": f"c{i}", "source": source, "outputs": [], "execution_count": None,
              "metadata": {"tags": ["parameters"]} if i == 0 else {}} for i, source in enumerate(sources)]
    cells.insert(1, {"cell_type": "markdown", "id": "m", "source": "Some words.", "metadata": {}})
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}


def make_project(folder):
    """A repository in `folder` with our engine, and notebooks that take no time."""
    ours = [*ROOT.glob("lib/*.py"), *ROOT.glob("lib/engine/*.py"), *(ROOT / f"lib/{d}/__init__.py" for d in ("diffusion", "study")), ROOT / "lib/study/generators.py",
            *(ROOT / f"lib/report/{name}.py" for name in ("__init__", "runs", "results")), ROOT / "lib/study/results.py",
            *ROOT.glob("reports/profiles/*/*"),
            *(ROOT / name for name in ("reports/Snakefile", "reports/run_step.py", "environment.yml", "pyproject.toml"))]
    for file in ours:
        copy = folder / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    files = {
        "torch.py": "class cuda:\n    is_available = staticmethod(lambda: False)\n\n\ndef get_num_threads():\n    return 1\n\n\n"
                    "class backends:\n    class cpu:\n        get_cpu_capability = staticmethod(lambda: 'none')\n",
        "lib/engine/parameters.py": (ROOT / "lib/engine/parameters.py").read_text() + CONFIGS,
        "lib/report/results.py": (ROOT / "lib/report/results.py").read_text() + RESULT,
        "lib/toy.py": WORK, "lib/data/__init__.py": DATA, "lib/report/page.py": PAGE,
        "lib/report/site.py": SITE, "lib/report/collected.py": COLLECTED,
        "lib/report/pdf.py": "def write_pdf(html, pdf):\n    pdf.write_bytes(b'%PDF' + html.read_bytes())\n",
        "lib/shapes.py": "from . import maths\n", "lib/maths.py": "FACTOR = 2\n\n\ndef twice(x):\n    return 2 * x\n",
        "lib/unused.py": "x = 1\n", "reports/plans/tiny.yml": PLAN, "reports/plans/one.yml": ONE}
    files |= {f"notebooks/{name}.ipynb": json.dumps(book(name)) for name in PARAMETERS}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


MODULES = (kernel, make, notebook, parameters, plan, stale, runs)


def work_in(folder, patch):
    """Let the engine of this process, and the kernels that it starts, work in the toy project `folder`."""
    patch.setenv("PYTHONPATH", str(folder))             # the suite itself may have been started with this clone's
    names = {}
    exec(compile((folder / "lib/engine/parameters.py").read_text(), "parameters", "exec"), names)
    names["ROOT"] = folder
    data, shown = {}, {}
    exec((folder / "lib/data/__init__.py").read_text(), data)
    exec((folder / "lib/report/results.py").read_text()[-len(RESULT):], {"dataclasses": __import__("dataclasses"), "STEPS": shown})
    data["ROOT"] = folder
    for module in MODULES:
        for name, value in (("ROOT", folder), ("STEPS", names["STEPS"])):
            if hasattr(module, name):
                patch.setattr(module, name, value)
    patch.setattr(results, "STEPS", results.STEPS | shown)
    patch.setattr("lib.data.check", data["check"])


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def cell(project, name, index, source):
    file = project / f"notebooks/{name}.ipynb"
    content = json.loads(file.read_text())
    content["cells"][index]["source"] = source
    file.write_text(json.dumps(content))


def write_plan(project, text, name="tiny"):
    (project / f"reports/plans/{name}.yml").write_text(text)
    return plan.read_plan(name)


# ---------------------------------------------------------------- runs without kernels
def be_quick(patch):
    """Let the provenance of runs in this process ask nothing of git and torch."""
    patch.setattr(runs, "provenance", lambda upstream=(): {
        "start": "2026-01-01T00:00:00+00:00", "commit": "abc", "versions": {}, "uncommitted_changes": False,
        "upstream": {run.name: runs.content(run.folder) for run in upstream}})


def run_here(folder, values, factor=0, split="", asked=True):
    """Do what the toy's notebook does with these parameters; its executed copy holds its number. asked: by a plan."""
    step = (folder / values["run_dir"]).parent.name if asked else "train"
    os.environ["DREAMING_RUN_DIR"] = values["run_dir"] if asked else ""
    _, run, read = notebook.begin(step, values)
    work = {}
    exec(WORK, work)
    work["finish"](run, read, factor, split)
    run.path("notebook.ipynb").write_text(run.result.number)
    return run
