"""Plans: what is refused before anything starts, what makes a run stale, and how a notebook's end is told."""
import ast
import json
import os
import shutil
import textwrap

import pytest
from commands import python

from lib import ROOT, InputError
from lib.engine import plan as plans

# ---------------------------------------------------------------- a small project of the same shape
CONFIGS = '''

# ---- stand-ins of the test: the same steps with few parameters
def stand_in(name, **fields):
    return dataclasses.make_dataclass(name, fields.items(), bases=(Config,), frozen=True, kw_only=True)


STEPS = {
    "schedules": Step("10_schedules", stand_in("SchedulesConfig", T=int, run_dir=str)),
    "train": Step("20_train_ddpm", stand_in(
        "TrainConfig", dataset=str, schedule=Annotated[str, one_of("linear", "cosine")], seed=int, trouble=str,
        steps=Annotated[int, at_least(1)], lr=Annotated[float, above(0)], run_dir=str)),
    "generate": Step("30_generate", stand_in("GenerateConfig", train_run=str, images=int, seed=int, run_dir=str)),
    "augment": Step("40_augment", stand_in(
        "AugmentConfig", generate_runs=list[str], widths=list[int], clip=bool, run_dir=str)),
    "ablation": Step("50_ablation", stand_in("AblationConfig", runs=list[str], run_dir=str)),
    "report": Step("90_report", stand_in("ReportConfig", plan=str, runs=list[str], missing=list[str], run_dir=str)),
}
'''

PARAMETERS = {
    "10_schedules": "T = 100\nrun_dir = ''",
    "20_train_ddpm":
        "dataset = 'toy'\nschedule = 'linear'\nseed = 0\ntrouble = ''\nsteps = 10\nlr = 1e-3\nrun_dir = ''",
    "30_generate": "train_run = 'reports/runs/interactive/train/default'\nimages = 5\nseed = 0\nrun_dir = ''",
    "40_augment": "generate_runs = ['reports/runs/interactive/generate/default']\nwidths = [8]\nclip = True\nrun_dir = ''",
    "50_ablation": "runs = []\nrun_dir = ''",
    "90_report": "plan = 'tiny'\nruns = []\nmissing = []\nrun_dir = ''",
}

EXTRA = {
    "20_train_ddpm": """
        import time
        import lib
        from lib import InputError, shapes
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
                "Stands for lib.training's."
            raise Diverged("loss is nan by step 3")
        (folder / "gpu").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
        while (ROOT / "slow").exists():
            (folder / "progress.json").write_text(json.dumps({"line": "3/10 steps, loss 0.5000"}))
            time.sleep(0.2)
        """,
    "30_generate": """
        from lib.engine import plan as plans
        plans.ensure(train_run)
        assert (ROOT / train_run / "result.json").exists()
        """,
    "40_augment": "from lib.maths import twice",
    "90_report": "(folder / 'seen.json').write_text(json.dumps([(ROOT / r / 'result.json').exists() for r in runs]))",
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


def notebook(name):
    step = next(step for step, s in plans.STEPS.items() if s.notebook == name)
    work = f"""\
        import json, os
        from lib import ROOT
        folder = ROOT / (run_dir or "reports/runs/interactive/{step}/default")
        folder.mkdir(parents=True, exist_ok=True)
        config = {{n: globals()[n] for n in {[line.split()[0] for line in PARAMETERS[name].splitlines()]}}}
        (folder / "result.json").unlink(missing_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        """
    finish = "print('work is done')\n(folder / 'result.json').write_text(json.dumps({'seconds': 1}))"
    sources = [PARAMETERS[name], textwrap.dedent(work), textwrap.dedent(EXTRA.get(name, "")), finish]
    cells = [{"cell_type": "code", "id": f"c{i}", "source": source, "outputs": [], "execution_count": None,
              "metadata": {"tags": ["parameters"]} if i == 0 else {}} for i, source in enumerate(sources)]
    cells.insert(1, {"cell_type": "markdown", "id": "m", "source": "Some words.", "metadata": {}})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def make_project(folder):
    """A repository in `folder` with our engine, and notebooks that take no time."""
    for name in ["lib/__init__.py", "lib/__main__.py", "lib/plans.py", "lib/runs.py", "reports/Snakefile",
                 "reports/run_step.py", *(f"reports/profiles/{p}/config.yaml" for p in ("cpu", "gpu", "slurm")),
                 "environment.yml", "pyproject.toml"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    files = {
        "lib/parameters.py": (ROOT / "lib/parameters.py").read_text() + CONFIGS,
        "lib/data.py": "from lib import InputError\n\ndef check(config):\n    if config.dataset != 'toy':\n"
                       "        raise InputError(f'dataset={config.dataset!r}: expected toy')\n",
        "lib/reporting.py": "def write_html(notebooks, html, title=None):\n"
                            "    html.write_text(title + ''.join(n.read_text() for n in notebooks))\n"
                            "def write_pdf(html, pdf):\n    pdf.write_bytes(b'%PDF')\n",
        "lib/shapes.py": "from . import maths\n", "lib/maths.py": "def twice(x):\n    return 2 * x\n",
        "lib/unused.py": "x = 1\n", "reports/plans/tiny.yml": PLAN}
    files |= {f"notebooks/{name}.ipynb": json.dumps(notebook(name)) for name in PARAMETERS}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project, and `plans` working in it."""
    make_project(tmp_path)
    names = {}
    exec(compile((tmp_path / "lib/parameters.py").read_text(), "parameters", "exec"), names)
    monkeypatch.setattr(plans, "ROOT", tmp_path)
    monkeypatch.setattr(plans, "STEPS", names["STEPS"])
    return tmp_path


def write_plan(project, text, name="tiny"):
    (project / f"reports/plans/{name}.yml").write_text(text)
    return plans.read_plan(name)


# ---------------------------------------------------------------- reading
@pytest.mark.parametrize("text, value", [
    ("1e-4", 1e-4), ("1E3", 1000.0), (".5", 0.5), ("2.", 2.0), ("-3", -3), ("010", 10), ("0x10", 16), ("no", "no"),
    ("on", "on"), ("y", "y"), ("true", True), ("null", None), ("~", None), ("", ""), ("12:30", "12:30"),
    ("[1, 2]", [1, 2]), ("2026-01-01", "2026-01-01"), ("1_000", "1_000"), ("'1'", "1"),
    (".inf", float("inf")), ("e5", "e5"),
])
def test_values_are_read_as_yaml_1_2(text, value):
    assert plans.parse_value(text) == value
    assert type(plans.parse_value(text)) is type(value)


def test_a_plan_names_its_jobs_in_order_with_complete_parameters(project):
    plan = plans.read_plan("tiny")
    assert [job.label for job in plan.jobs] == JOBS
    train, generate = plan.job("train", "linear"), plan.job("generate", "linear")
    assert (train.config.lr, train.config.seed, train.config.steps) == (1e-4, 7, 10)
    assert train.config.run_dir == "reports/runs/tiny/train/linear"
    assert generate.config.train_run == train.config.run_dir and generate.upstream == (train,)
    report = plan.job("report", "default")
    assert report.config.runs == [job.config.run_dir for job in plan.jobs[:-1]] and report.config.missing == []
    assert plan.job("ablation", "default").config.runs == report.config.runs[1:-1]


def test_single_steps_may_be_set_renamed_and_left_out(project):
    plan = write_plan(project, "train: {a: }\nschedules: {few: {T: 5}, many: {T: 900}}\nablation: {}\n")
    assert [job.label for job in plan.jobs] == ["schedules/few", "schedules/many", "train/a", "report/default"]
    assert plan.job("schedules", "many").config.T == 900


def test_a_run_may_take_over_the_values_of_another(project):
    plan = write_plan(project, "train:\n  a: &a {steps: 5, lr: 1e-2}\n  b: {<<: *a, steps: 6}\n")
    assert [(job.config.steps, job.config.lr) for job in plan.of("train")] == [(5, 0.01), (6, 0.01)]


def test_a_plan_may_lie_elsewhere_but_not_take_another_ones_runs(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("plans")
    (elsewhere / "mine.yml").write_text(PLAN)
    (elsewhere / "tiny.yml").write_text(PLAN)
    plan = plans.read_plan(str(elsewhere / "mine.yml"))
    assert plan.folder == project / "reports/runs/mine" and plan.job("report", "default").config.plan == str(plan.file)
    with pytest.raises(InputError, match="another plan has the name 'tiny'"):
        plans.read_plan(str(elsewhere / "tiny.yml"))
    (elsewhere / "my plan.yml").write_text(PLAN)
    with pytest.raises(InputError, match="expected a file name of letters, digits and"):
        plans.read_plan(str(elsewhere / "my plan.yml"))


BAD_PLANS = {
    "train: {a: {schedul: linear}}": "train.a: unknown parameter 'schedul', perhaps 'schedule'; accepted are",
    "train: {a: {schedule: cosin}}": "train.a: schedule='cosin': expected one of 'linear', 'cosine'",
    "train: {a: {schedule: no}}": "train.a: schedule='no': expected one of",
    "train: {a: {steps: 1.5}}": "train.a: steps=1.5 is float, expected a number (int)",
    "train: {a: {steps: 1_000}}": "train.a: steps='1_000' is str, expected a number (int)",
    "train: {a: {lr: '1e-4'}}": "train.a: lr='1e-4' is str, expected a number (float)",
    "train: {a: {lr: .nan}}": "train.a: lr=nan is float, expected",
    "train: {a: {lr: 1, lr: 2}}": "line 1: the key 'lr' is given twice",
    "train: {a: {}}\ntrain: {b: {}}": "line 2: the key 'train' is given twice",
    "train: {a: {run_dir: x}}": "train.a: run_dir is set by the plan itself",
    "train: {a: {'x=1; import os': 1}}": "train.a: unknown parameter 'x=1; import os'",
    "train: {a: 3}": "train.a: expected lines of the form parameter: value, not 3",
    "train: [a]": "train: expected lines of the form name: value, not ['a']",
    "train: {../a: {}}": "train: the run name '../a': expected text of letters, digits",
    "train: {1: {}}": "train: the run name 1: expected text of letters",
    "train: {}": "train: expected at least one run",
    "title: x": "train: expected at least one run",
    "": "expected lines of the form name: value, not None",
    "just words": "expected lines of the form name: value, not 'just words'",
    "train: {a: {}": "line 1: expected ',' or '}'",
    "train: {a: !!python/object:os.system {}}": "line 1: could not determine a constructor",
    "trian: {a: {}}": "unknown name 'trian', perhaps 'train'; accepted are",
    "title: 3\ntrain: {a: {}}": "title=3: expected text",
    "train: {a: {}}\ncommon: {sead: 1}": "common: unknown name 'sead', perhaps 'seed'; accepted are",
    "train: {a: {}}\ncommon: {runs: [x]}": "common: unknown name 'runs'",
    "train: {a: {}}\ncommon: {seed: x}": "train.a: seed='x' is str, expected a number (int)",
    "train: {a: {}}\ngenerate: {a: {}}": "generate.a: train_run=None: expected the name of a run of the step train: a",
    "train: {a: {}}\ngenerate: {a: {train_run: b}}": "generate.a: train_run='b': expected the name of a run",
    "train: {a: {}}\ngenerate: {a: {train_run: [a]}}": "generate.a: train_run=['a']: expected the name of a run",
    "train: {a: {}}\naugment: {a: {generate_runs: a}}": "augment.a: generate_runs='a': expected a list of names of runs of the step generate",
    "train: {a: {}}\naugment: {a: {generate_runs: [a]}}": "augment.a: generate_runs=['a']: expected a list of names of runs",
    "train: {a: {}}\naugment: {a: {generate_runs: []}}": "augment.a: generate_runs=[]: expected a list of names of runs",
    "train: {a: {}}\naugment: {a: {}}": "augment.a: generate_runs=None: expected a list of names of runs",
    "train: {a: {}}\nreport: {}": "report: expected one run named default",
    "train: {a: {}}\nreport: {x: {}}": "report: unknown name 'x'; accepted are default",
    "train: {a: {}}\nablation: {default: {runs: []}}": "ablation.default: runs is set by the plan itself",
}


@pytest.mark.parametrize("text", BAD_PLANS)
def test_a_bad_plan_is_refused_in_one_sentence(project, text):
    with pytest.raises(InputError) as error:
        write_plan(project, text)
    message = str(error.value)
    assert message.startswith("reports/plans/tiny.yml: " + BAD_PLANS[text]) and "\n" not in message


def test_an_unknown_plan_lists_those_there_are(project):
    with pytest.raises(InputError, match=r"plan 'tini': expected one of tiny, or the path of a \.yml file"):
        plans.read_plan("tini")


@pytest.mark.parametrize("trainings, cores, threads", [(1, 2, 2), (2, 2, 1), (5, 2, 1), (2, 16, 8), (3, 1, 1)])
def test_as_many_trainings_as_possible_stand_side_by_side(project, trainings, cores, threads):
    runs = ", ".join(f"r{i}: {{}}" for i in range(trainings))
    assert write_plan(project, f"train: {{{runs}}}").threads(cores) == threads


@pytest.mark.parametrize("file", sorted((ROOT / "reports/plans").glob("*.yml")), ids=lambda file: file.stem)
def test_every_plan_of_the_project_can_be_read(file):
    assert plans.read_plan(file.stem).title != file.stem


# ---------------------------------------------------------------- what makes a run stale
def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def cell(project, name, index, source):
    book = json.loads((project / f"notebooks/{name}.ipynb").read_text())
    book["cells"][index]["source"] = source
    (project / f"notebooks/{name}.ipynb").write_text(json.dumps(book))


CODE_CHANGES = {  # what is done: the steps whose results it can change
    "a module that nobody imports": (lambda p: change(p / "lib/unused.py", "1", "2"), ""),
    "a module imported by name": (lambda p: change(p / "lib/shapes.py", "from . import maths", "y = 2"), "train"),
    "a module imported by a module": (lambda p: change(p / "lib/maths.py", "2 * x", "x + x"), "train augment"),
    "a comment": (lambda p: change(p / "lib/maths.py", "2 * x", "2 * x  # twice"), ""),
    "a docstring": (lambda p: change(p / "lib/maths.py", "    return", "    'Twice x.'\n    return"), ""),
    "the engine": (lambda p: change(p / "lib/plans.py", "import ast", "import ast, abc"), ""),
    "the checks": (lambda p: change(p / "lib/parameters.py", "import ast", "import ast, abc"), ""),
    "a new file in lib": (lambda p: (p / "lib/new.py").write_text("x = 1"), ""),
    "a code cell": (lambda p: cell(p, "30_generate", 3, "x = 1"), "generate"),
    "a magic": (lambda p: cell(p, "10_schedules", 3, "%matplotlib inline\n"), ""),
    "a default": (lambda p: cell(p, "20_train_ddpm", 0, PARAMETERS["20_train_ddpm"].replace("10", "11")), ""),
    "prose": (lambda p: cell(p, "20_train_ddpm", 1, "Other words."), ""),
    "prose that the report shows": (lambda p: cell(p, "90_report", 1, "Other words."), "report"),
    "how the report is made": (lambda p: change(p / "lib/reporting.py", "title +", "title * 2 +"), "report"),
}


@pytest.mark.parametrize("what", CODE_CHANGES)
def test_a_change_of_code_concerns_the_steps_that_use_it(project, what):
    act, steps = CODE_CHANGES[what]
    before = {step: plans.code_hash(step) for step in plans.STEPS}
    act(project)
    assert {step for step in plans.STEPS if plans.code_hash(step) != before[step]} == set(steps.split())


def test_every_way_to_import_a_module_of_lib_is_found():
    tree = ast.parse("import lib.a\nimport lib.b as b, numpy\nfrom lib import c, d\nfrom .e import f\nfrom . import g")
    assert {"lib.a", "lib.b", "lib.c", "lib.d", "lib.e", "lib.g"} <= plans.imported(tree)


def finish(job, seconds):
    """Lay the files of a finished run."""
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "config.json").write_text(json.dumps(job.values))
    (job.folder / "result.json").write_text("{}")
    os.utime(job.folder / "result.json", (seconds, seconds))


def test_a_run_is_current_only_with_the_plans_parameters_and_current_upstream(project):
    plan = plans.read_plan("tiny")
    for i, job in enumerate(plan.jobs):
        assert not plans.is_current(job)
        finish(job, 1000 + i)
    assert all(plans.is_current(job) for job in plan.jobs)
    (plan.job("train", "linear").folder / "result.json").unlink()           # it failed
    stale = {job.label for job in plan.jobs if not plans.is_current(job)}
    assert stale == LINEAR
    finish(plan.job("train", "linear"), 2000)                                # made again, later than what read it
    assert {job.label for job in plan.jobs if not plans.is_current(job)} == LINEAR - {"train/linear"}
    finish(plan.job("train", "linear"), 1000)
    change(project / "reports/plans/tiny.yml", "images: 6", "images: 60")
    stale = {job.label for job in plans.read_plan("tiny").jobs if not plans.is_current(job)}
    assert stale == {"generate/cosine", "augment/cosine"} | REPORT


# ---------------------------------------------------------------- how a notebook ends
def run_train(project, **values):
    out = project / "out/notebook.ipynb"
    try:
        plans.run_notebook(project / "notebooks/20_train_ddpm.ipynb", out, values)
    finally:
        assert [p.name for p in out.parent.iterdir()] == ["notebook.ipynb"]   # whole, and no rest of a temporary file
        book = json.loads(out.read_text())
        run_train.status = [c["metadata"]["papermill"]["status"] for c in book["cells"] if "papermill" in c["metadata"]]
        run_train.papermill = book["metadata"]["papermill"]


@pytest.mark.slow
def test_an_executed_notebook_says_how_it_ended(project):
    run_train(project, steps=3)
    assert set(run_train.status) == {"completed"} and run_train.papermill["status"] == "completed"
    assert str(project) not in json.dumps(run_train.papermill)
    with pytest.raises(plans.NotebookFailed, match="^ZeroDivisionError: division by zero$"):
        run_train(project, trouble="error")
    assert run_train.papermill["status"] == "failed" and run_train.papermill["exception"]
    assert run_train.status[-2:] == ["failed", "pending"]
    with pytest.raises(plans.NotebookFailed, match=r"killed \(out of memory\?\)"):
        run_train(project, trouble="killed")
    assert run_train.papermill["status"] == "killed" and run_train.status[-2:] == ["killed", "pending"]
    with pytest.raises(InputError, match="^steps=10: expected more$"):
        run_train(project, trouble="refused")


@pytest.mark.slow
def test_a_notebook_alone_makes_the_interactive_run_that_it_reads(project):
    folder = project / "reports/runs/interactive"
    done = python(project, "-m", "lib", "run", "generate", "images=7")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "reports/runs/interactive/generate/default/notebook.ipynb\n"
    assert json.loads((folder / "generate/default/config.json").read_text())["images"] == 7
    assert (folder / "train/default/result.json").exists()
    executed = (folder / "generate/default/notebook.ipynb").read_text()
    assert "is not there yet: running notebooks/20_train_ddpm.ipynb" in executed


def test_a_missing_run_of_a_plan_is_named_with_what_makes_it(project):
    with pytest.raises(InputError, match="run 'reports/runs/tiny/train/linear' is not finished: `python3 -m lib report "
                                         "tiny` makes it"):
        plans.ensure("reports/runs/tiny/train/linear")
    with pytest.raises(InputError, match="-m lib run train run_dir=reports/runs/interactive/train/x` makes it"):
        plans.ensure("reports/runs/interactive/train/x")
    finish(plans.read_plan("tiny").job("train", "linear"), 1)
    assert plans.ensure("reports/runs/tiny/train/linear") is None


def test_a_new_picture_does_not_cost_a_training(tmp_path, monkeypatch):
    """The real notebooks: a change in lib.figures reruns what is cheap, and no training, generation or study."""
    changed = tmp_path / "figures.py"
    changed.write_text(plans.module_file("lib.figures").read_text(encoding="utf-8") + "\n\nLIMIT = 1\n", encoding="utf-8")
    before = {step: plans.code_hash(step) for step in plans.STEPS}
    real = plans.module_file
    monkeypatch.setattr(plans, "module_file", lambda name: changed if name == "lib.figures" else real(name))
    assert [step for step in before if plans.code_hash(step) != before[step]] == ["schedules", "ablation", "report"]


def test_an_explorer_costs_no_run(project):
    before = {step: plans.code_hash(step) for step in plans.STEPS}
    for name in ("20_train_ddpm", "90_report"):
        book = json.loads((project / f"notebooks/{name}.ipynb").read_text())
        for kind, source in (("markdown", "## Explore"), ("code", "from lib import shapes\n\nshapes.explore()")):
            book["cells"].append({"cell_type": kind, "metadata": {"tags": ["explorer"]}, "source": source})
        (project / f"notebooks/{name}.ipynb").write_text(json.dumps(book))
    assert {step: plans.code_hash(step) for step in plans.STEPS} == before


def test_a_run_on_a_folder_of_images_is_a_run_of_that_folder(monkeypatch):
    for place in ("/data/cats", "/data/dogs"):
        monkeypatch.setenv("DREAMING_DATA_DIR", place)
        assert {job.config.data_dir for job in plans.read_plan("own").of("train")} == {place}
    assert {job.config.data_dir for job in plans.read_plan("digits").of("train")} == {""}


def test_a_dry_run_says_why(project):
    plan = plans.read_plan("tiny")
    train, generate = plan.job("train", "linear"), plan.job("generate", "linear")
    assert plans.why(train, []) == "not made yet"
    for job in (train, generate):
        job.folder.mkdir(parents=True)
        (job.folder / "config.json").write_text(json.dumps(job.values | {"seed": 1}))
    assert plans.why(train, []) == "not finished"
    for job in (train, generate):
        (job.folder / "result.json").write_text("{}")
    assert plans.why(train, []) == "seed was 1 and is 7"
    (generate.folder / "config.json").write_text(json.dumps(generate.values))
    assert plans.why(generate, ["train/linear", "generate/linear"]) == "it reads train/linear"
    assert plans.why(generate, ["generate/linear"]) == "its code has changed"
