"""What makes a run stale: its parameters, code, images, what it read; and that exit 0 means that all is current."""
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import types
from pathlib import Path

import pytest
import toy
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from toy import COSINE, JOBS, LINEAR, REPORT, cell, change, make_project, work_in

from lib import InputError
from lib.engine import kernel, make
from lib.engine.plan import read_plan
from lib.engine.stale import Today, stale
from lib.report import results, runs

OWN = "  own: {dataset: folder, data_dir: pictures}\n"


# ---------------------------------------------------------------- code
CODE_CHANGES = {  # what is done: the steps whose results it can change
    "a module that nobody imports": (lambda p: change(p / "lib/unused.py", "1", "2"), ""),
    "a constant that cells use": (lambda p: change(p / "lib/maths.py", "= 2", "= 3"), "train augment"),
    "another definition of that module": (lambda p: change(p / "lib/maths.py", "2 * x", "x + x"), ""),
    "a statement of that module": (lambda p: change(p / "lib/maths.py", "FACTOR = 2", "FACTOR = 2\nprint()"), "train augment"),
    "a statement of a module that it imports": (lambda p: change(p / "lib/shapes.py", "from . import maths", "print()"), "train"),
    "a comment": (lambda p: change(p / "lib/maths.py", "= 2", "= 2  # twice"), ""),
    "the engine": (lambda p: change(p / "lib/engine/notebook.py", "own = runs", "own = 1\n    own = runs"), ""),
    "how results are stored": (lambda p: change(p / "lib/report/results.py", "    number: str", "    number: object"),
                               "schedules ablation report"),
    "a new file in lib": (lambda p: (p / "lib/new.py").write_text("x = 1"), ""),
    "a code cell": (lambda p: cell(p, "30_generate", 3, "x = 1"), "generate"),
    "a magic": (lambda p: cell(p, "10_schedules", 3, "%matplotlib inline\n"), "schedules"),
    "a default": (lambda p: cell(p, "20_train_ddpm", 0, toy.PARAMETERS["20_train_ddpm"].replace("10", "11")), ""),
    "prose": (lambda p: cell(p, "20_train_ddpm", 1, "Other words."), ""),
    "prose that the report shows": (lambda p: cell(p, "90_report", 1, "Other words."), "report"),
    "how the page is made": (lambda p: change(p / "lib/report/page.py", "str(title)", "2 * str(title)"), "report"),
    "the article": (lambda p: write(p / "reports/articles/tiny.md", "Words."), "report"),
    "the article of another plan": (lambda p: write(p / "reports/articles/one.md", "Words."), ""),
    "the template of the page": (lambda p: write(p / "reports/template/page.html", "<main>"), "report"),
}


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def code_of_steps():
    """{step: the record of its code}, for the toy's parameters, which name nothing."""
    return {step: Today().record(step, {"plan": "tiny"}, None) for step in toy.stale.STEPS}


@pytest.mark.parametrize("what", CODE_CHANGES)
def test_a_change_of_code_concerns_the_steps_that_use_it(project, what):
    act, steps = CODE_CHANGES[what]
    before = code_of_steps()
    act(project)
    now = code_of_steps()
    assert {step for step in before if now[step] != before[step]} == set(steps.split())


def test_an_explorer_costs_no_run(project):
    before = code_of_steps()
    for name in ("20_train_ddpm", "90_report"):
        book = json.loads((project / f"notebooks/{name}.ipynb").read_text())
        for kind, source in (("markdown", "## Explore"), ("code", "from lib import shapes\n\nshapes.explore()")):
            extra = {"outputs": [], "execution_count": None} if kind == "code" else {}
            book["cells"].append({"cell_type": kind, "id": kind, "metadata": {"tags": ["explorer"]}, "source": source} | extra)
        (project / f"notebooks/{name}.ipynb").write_text(json.dumps(book))
    assert code_of_steps() == before


@pytest.mark.parametrize("source, told", [
    ("%%html\n<b>", None), ("%time x = 1", None), ("!pip list", None), ("x?", None), ("x = 1 +", "line 1: invalid syntax")])
def test_magics_of_a_student_are_code_and_a_mistake_is_named_with_its_cell(project, source, told):
    cell(project, "30_generate", 3, source)
    if told is None:
        assert code_of_steps()
    else:
        with pytest.raises(InputError, match=f"^notebooks/30_generate.ipynb, cell 4: {told}$"):
            code_of_steps()


# ---------------------------------------------------------------- a finished plan, and what a change makes again
@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A toy project whose plan was reported on once, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        world = World(make_project(tmp_path_factory.mktemp("made") / "p"), patch)
        assert world.call() == 0, world.said
    return world.folder


@pytest.fixture
def world(made, tmp_path, monkeypatch):
    return World(Path(shutil.copytree(made, tmp_path / "copy")), monkeypatch)


class World:
    """A toy project, the command `report tiny` in it with runs in this process, and what its results ought to be."""

    def __init__(self, folder, patch):
        self.patch, self.failing, self.interrupt, self.edit = patch, set(), None, None
        toy.be_quick(patch)
        patch.setattr(make, "run_snakemake", self.run_all)
        patch.setattr(kernel, "run_notebook", self.run_notebook)
        patch.setitem(sys.modules, "lib.report.site", types.SimpleNamespace(write_site=self.write_site))
        patch.setitem(sys.modules, "lib.report.collected", types.SimpleNamespace(collect=lambda *args, **words: None))
        self.move(folder)

    def move(self, folder):
        self.folder = folder
        work_in(folder, self.patch)

    # ---- the command
    def call(self, only="", forced=""):
        """The exit code of `report tiny --only ... --force ...`; 130 where it was interrupted. self.said: what it printed."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                plan = read_plan("tiny")
                code = make.make(plan, make.find_profile("cpu"), only, plan.called(forced) if forced else [])
            except InputError as error:
                print(error)
                code = error.code
            except KeyboardInterrupt:
                code = 130
        self.said = said.getvalue()
        for lock in runs.held.values():                     # the processes of the runs have ended
            lock.release()
        runs.held.clear()
        return code

    def run_all(self, plan, profile, labels, wanted=()):
        """As Snakemake: the asked ones and those without a result, in order; none that reads a failed one."""
        failed, self.made = {}, []
        for job in plan.jobs:
            if job.label not in labels and (job.folder / "result.json").exists():
                continue
            if all(u.label not in failed and (u.folder / "result.json").exists() for u in job.upstream):
                code = kernel.run_job(job.values)
                self.made.append(job.label)
            else:
                code = None
            if code:
                failed[job.label] = ("words", code)
            if code != 0:
                (job.folder / "result.json").unlink(missing_ok=True)
        return bool(failed), types.SimpleNamespace(failed=failed, running={}, seconds={})

    def run_notebook(self, file, out, values, skip):
        label = "/".join(out.parts[-3:-1])
        if label in self.failing:
            self.failing.discard(label)
            raise kernel.NotebookFailed("it failed")
        if self.interrupt == (label, "before"):
            raise KeyboardInterrupt
        out.parent.mkdir(parents=True, exist_ok=True)
        self.save(label, "as it starts")                    # the kernel reads lib after this, and has its own notebook
        beside = self.beside(label.split("/")[0], values, file)
        self.save(label, "while it runs")
        run = toy.run_here(self.folder, values, *beside)
        self.save(label, "as it ends")
        if self.interrupt == (label, "during"):
            run.path("result.json").unlink()
        if self.interrupt and self.interrupt[0] == label:
            raise KeyboardInterrupt

    def save(self, label, when):
        """The user's edit at this moment, if there is one; once."""
        if self.edit and self.edit[:2] == (label, when):
            self.edit[2]()
            self.edit = None

    @staticmethod
    def write_site(article, collected, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text(article.read_text())
        (folder / "report.pdf").write_bytes(b"%PDF" + article.read_bytes())

    # ---- what ought to be there, from the plan's text, the code and the pictures alone
    def beside(self, step, values, notebook):
        """What a result depends on besides parameters and what is read: the code of lib and of the notebook, pictures."""
        names = {}
        exec((self.folder / "lib/maths.py").read_text(), names)
        factor = names["FACTOR"] if step in ("train", "augment") else 0
        factor *= int(re.search(r"maths.FACTOR \* (\d+)|$", notebook.read_text())[1] or 1)
        files = sorted((self.folder / values["data_dir"]).iterdir()) if values.get("dataset") == "folder" else []
        told = "".join(file.name + file.read_text() for file in files)
        return factor, hashlib.sha256(told.encode()).hexdigest() if step == "train" else ""

    def numbers(self):
        """{label: the number that a run made now would have}."""
        work, found = {}, {}
        exec(toy.WORK, work)
        for job in (plan := read_plan("tiny")).jobs:
            factor, split = self.beside(job.step, job.values, self.folder / f"notebooks/{toy.stale.STEPS[job.step].notebook}.ipynb")
            found[job.label] = work["number"](job.step, job.values, [found[u.label] for u in job.upstream], factor, split)
        return plan, found

    def check(self):
        plan, numbers = self.numbers()
        for job in plan.jobs:
            text = (job.folder / "result.json").read_text()
            assert results.loads(text, "").number == numbers[job.label], job.label
        page = numbers["report/default"]
        assert plan.html.read_text() == page and plan.pdf.read_bytes() == b"%PDF" + page.encode()
        assert not stale(plan)


def in_plan(old, new):
    return lambda project: change(project / "reports/plans/tiny.yml", old, new)


def touch_all(project):
    for k, file in enumerate(sorted(project.rglob("*"))):
        os.utime(file, (10**9 + (k * 7919) % 10**6,) * 2)


CHANGES = {  # what is done to the finished project: the runs that are made again
    "nothing": (lambda p: None, set()),
    "schedule": (in_plan("schedule: linear, lr", "schedule: cosine, lr"), LINEAR),
    "the same lr": (in_plan("lr: 1e-4", "lr: 0.0001"), set()),
    "seed": (in_plan("seed: 7", "seed: 8"), set(JOBS) - {"schedules/default"}),
    "images": (in_plan("images: 6", "images: 7"), COSINE - {"train/cosine"}),
    "train_run": (in_plan("cosine: {train_run: cosine,", "cosine: {train_run: linear,"), COSINE - {"train/cosine"}),
    "widths": (in_plan("[8, 8]", "[8, 9]"), {"augment/cosine"} | REPORT),
    "T": (in_plan("train:\n", "schedules: {default: {T: 200}}\ntrain:\n"), {"schedules/default", "report/default"}),
    "title": (in_plan("A tiny plan", "A small plan"), {"report/default"}),
    "a new run": (in_plan("augment:\n", "augment:\n  wide: {generate_runs: [linear]}\n"), {"augment/wide"} | REPORT),
    "a run less": (in_plan("  cosine: {generate_runs: [cosine], widths: [8, 8]}\n", ""), REPORT),
    "code of one notebook": (lambda p: cell(p, "40_augment", 3, "from lib import maths\nfactor = 3"),
                             {"augment/linear", "augment/cosine"} | REPORT),
    "a definition of two notebooks": (lambda p: change(p / "lib/maths.py", "= 2", "= 1 + 1"), set(JOBS) - {"schedules/default"}),
    "a definition of none": (lambda p: change(p / "lib/maths.py", "2 * x", "x + x"), set()),
    "words, outputs, times": (lambda p: (cell(p, "20_train_ddpm", 1, "Other words."), touch_all(p)), set()),
    "a deleted PDF": (lambda p: (p / "reports/build/tiny/report.pdf").unlink(), {"report/default"}),
    "another page": (lambda p: (p / "reports/build/tiny/report.html").write_text("x"), {"report/default"}),
    "a deleted notebook": (lambda p: (p / "reports/runs/tiny/schedules/default/notebook.ipynb").unlink(),
                           {"schedules/default", "report/default"}),
    "a deleted result": (lambda p: (p / "reports/runs/tiny/generate/linear/result.json").unlink(), LINEAR - {"train/linear"}),
    "a result changed by hand": (lambda p: change(p / "reports/runs/tiny/train/linear/result.json", '"number": "', '"number": "0'),
                                 LINEAR),
    "a record that lacks what was read": (lambda p: change(p / "reports/runs/tiny/augment/linear/provenance.json", "upstream", "x"),
                                          {"augment/linear"} | REPORT),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_makes_again_what_it_concerns_and_no_more(world, what):
    act, concerned = CHANGES[what]
    act(world.folder)
    assert set(stale(read_plan("tiny"))) == concerned
    assert world.call() == 0, world.said
    assert set(world.made if concerned else []) == concerned
    assert not stale(read_plan("tiny"))


def test_a_run_made_again_alone_makes_stale_what_read_it(world):
    change(world.folder / "lib/maths.py", "FACTOR = 2", "FACTOR = 3")
    (job,) = [j for j in read_plan("tiny").jobs if j.label == "train/linear"]
    assert kernel.run_job(job.values) == 0                                  # by Snakemake, say, without the command
    change(world.folder / "lib/maths.py", "FACTOR = 3", "FACTOR = 2")
    assert stale(read_plan("tiny"))["train/linear"] == "its code has changed: lib.maths.FACTOR"
    assert kernel.run_job(job.values) == 0                                  # the same bits as before: all is current again
    assert not stale(read_plan("tiny"))


def test_what_was_made_from_other_results_is_not_current(world):
    folder = world.folder / "reports/runs/tiny/train/linear"
    file = json.loads((folder / "result.json").read_text())
    toy_type = results.STEPS["Toy"]
    (folder / "result.json").write_text(results.dumps(toy_type("another", file["result"]["split"])))
    found = stale(read_plan("tiny"))
    assert set(found) == LINEAR - {"train/linear"} and found["generate/linear"] == "it was made from other results"
    assert found["augment/linear"] == "it reads generate/linear"


def test_pictures_that_were_added_make_the_training_stale(world):
    (world.folder / "pictures").mkdir()
    (world.folder / "pictures/a.txt").write_text("a cat")
    change(world.folder / "reports/plans/tiny.yml", "generate:\n", OWN + "generate:\n")
    assert world.call() == 0 and "train/own" in world.made, world.said
    assert not stale(read_plan("tiny"))
    (world.folder / "pictures/b.txt").write_text("a dog")
    assert stale(read_plan("tiny")) == {"train/own": "its images have changed", "ablation/default": "it reads train/own",
                                        "report/default": "it reads train/own, ablation/default"}


def test_a_folder_of_pictures_that_is_named_no_more_is_not_asked(project, monkeypatch):
    monkeypatch.delenv("DREAMING_DATA_DIR", raising=False)                  # `publish` after `report --data-dir`
    monkeypatch.setattr("lib.data.check", lambda config: pytest.fail("it was asked"))
    job = toy.write_plan(project, "train: {a: {dataset: folder}}\nschedules: {}\nablation: {}\n").job("train", "a")
    assert not toy.stale.images_differ(job, None)


@pytest.mark.parametrize("when", ["as it starts", "while it runs", "as it ends"])
@pytest.mark.parametrize("what", ["the code", "a notebook", "a picture", "the plan"])
def test_what_is_saved_while_a_run_is_at_work_makes_it_stale(world, what, when):
    (world.folder / "pictures").mkdir()
    (world.folder / "pictures/a.txt").write_text("a cat")
    plan = world.folder / "reports/plans/tiny.yml"
    change(plan, "generate:\n", OWN + "generate:\n")
    change(plan, "[8, 8]", "[8, 9]")
    edit, label = {
        "the code": (lambda: change(world.folder / "lib/maths.py", "FACTOR = 2", "FACTOR = 3"), "train/own"),
        "a notebook": (lambda: cell(world.folder, "40_augment", 3, "from lib import maths\nfactor = maths.FACTOR * 2"), "augment/cosine"),
        "a picture": (lambda: (world.folder / "pictures/a.txt").write_text("a dog"), "train/own"),
        "the plan": (lambda: change(plan, "[8, 9]", "[8, 7]"), "augment/cosine")}[what]
    world.edit = label, when, edit
    code = world.call()
    assert world.edit is None and label in world.made, world.said
    if (what, when) == ("a picture", "as it starts"):       # the run saw it
        assert code == 0, world.said
    else:
        assert code == 1 and "changed meanwhile; the same call makes what is left" in world.said
        assert label in stale(read_plan("tiny")) and world.call() == 0
    world.check()


def test_a_part_of_a_plan_is_made_alone_and_one_run_again(world):
    in_plan("lr: 1e-4", "lr: 2e-4")(world.folder)
    assert world.call(only="generate/linear") == 0
    assert world.made == ["train/linear", "generate/linear"] and world.said.splitlines()[-1].strip().endswith("generate/linear")
    assert "augment/linear" in stale(read_plan("tiny")) and not set(world.made) & set(stale(read_plan("tiny")))
    assert world.call() == 0 and world.call(forced="train/cosine") == 0 and "train/cosine" in world.made and "train/linear" not in world.made
    assert set(stale(read_plan("tiny"), {"train/linear"})) >= {"train/linear", "generate/linear"}
    assert world.call(only="augment/nothing") == 2 and "run 'augment/nothing': expected one of" in world.said


def test_a_dry_run_says_why(project, capsys, monkeypatch):
    plan, world = read_plan("tiny"), World(project, monkeypatch)
    assert set(stale(plan).values()) == {"not made yet"}
    world.interrupt = ("train/cosine", "during")
    assert world.call() == 130
    change(project / "reports/plans/tiny.yml", "lr: 1e-4", "lr: 2e-4")
    plan = read_plan("tiny")
    assert make.would_make(plan, stale(plan)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["train/linear: lr was 0.0001 and is 0.0002", "train/cosine: not finished", "generate/linear: not made yet"]
    assert lines[-1] == "8 of 9 runs would be made"


@pytest.mark.parametrize("given, again", [("lr: 1e-4", False), ("lr: 1e-4, trouble: new", True)])
def test_a_parameter_that_came_after_a_run_had_its_default_there(world, given, again):
    assert world.call() == 0
    for file in world.folder.glob("reports/runs/tiny/train/*/config.json"):
        config = json.loads(file.read_text())
        assert config.pop("trouble") == ""
        file.write_text(json.dumps(config))
    in_plan("lr: 1e-4", given)(world.folder)
    assert ("train/linear" in stale(read_plan("tiny"))) == again


def test_a_failed_run_leaves_a_report_of_the_rest_that_is_never_taken_for_the_whole(world):
    in_plan("lr: 1e-4", "lr: 2e-4")(world.folder)
    world.failing = {"train/linear"}
    assert world.call() == 1 and "The report shows these runs as missing" in world.said
    assert (world.folder / "reports/build/tiny/report.html").exists()
    assert set(stale(read_plan("tiny"))) == LINEAR
    assert world.call() == 0 and set(world.made) == LINEAR
    world.check()


# ---------------------------------------------------------------- runs that are accepted
def record(world, label):
    return json.loads((world.folder / f"reports/runs/tiny/{label}/provenance.json").read_text())


def test_accepted_runs_are_current_and_keep_the_old_code_and_the_reason(world, capsys):
    old = record(world, "train/linear")["code"]
    change(world.folder / "lib/maths.py", "FACTOR = 2", "FACTOR = 4 // 2")
    change(world.folder / "reports/plans/tiny.yml", "images: 6", "images: 7")
    assert make.accept(read_plan("tiny"), " the same number ") == 0
    assert capsys.readouterr().out.splitlines()[:2] == [f"accepted: train/{name}: its code has changed: lib.maths.FACTOR" for name in ("linear", "cosine")]
    now = record(world, "train/linear")
    assert now["code"] != old and [(entry["because"], entry["code"]) for entry in now["accepted"]] == [("the same number", old)]
    assert set(stale(read_plan("tiny"))) == COSINE - {"train/cosine"}                   # another parameter; and the report
    assert "accepted" not in record(world, "augment/cosine") and "accepted" not in record(world, "schedules/default")
    assert world.call() == 0 and set(world.made) == COSINE - {"train/cosine"}
    world.check()


def test_a_run_with_the_hash_of_files_is_stale_once_and_can_be_accepted(world):
    for job in read_plan("tiny").jobs:
        file = job.folder / "provenance.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"code": "0123456789abcdef"}))
    assert stale(read_plan("tiny"))["train/linear"] == "its code has changed: it was recorded by file, not by definition"
    make.accept(read_plan("tiny"), "made by the version before")
    assert set(stale(read_plan("tiny"))) == {"report/default"}


@pytest.mark.parametrize("act, words", [
    (lambda p: None, "plan tiny: nothing to accept"),
    (lambda p: change(p / "reports/plans/tiny.yml", "seed: 7", "seed: 8"), "plan tiny: nothing to accept"),
    (lambda p: change(p / "lib/report/page.py", "str(title)", "2 * str(title)"), "plan tiny: nothing to accept")])
def test_where_the_code_alone_is_not_the_reason_there_is_nothing_to_accept(world, act, words):
    act(world.folder)
    before = stale(read_plan("tiny"))
    with pytest.raises(InputError, match=words):
        make.accept(read_plan("tiny"), "so it is")
    assert stale(read_plan("tiny")) == before


# ---------------------------------------------------------------- whatever happens, 0 means that all is current
EDITS = st.one_of(                                          # what a user may save, and when
    st.tuples(st.just("the_plan"), st.sampled_from([7, 8]), st.sampled_from([6, 7]), st.sampled_from(["A tiny plan", "12:30 {x}"]),
              st.sampled_from(["[8, 8]", "[9]"])),
    st.tuples(st.just("the_code"), st.sampled_from([2, 3])), st.tuples(st.just("a_notebook"), st.sampled_from([1, 2])),
    st.tuples(st.just("a_picture"), st.sampled_from(["a cat", "a dog"])))


class Story(RuleBasedStateMachine):
    """Faults, changes and calls in any order, also changes while a run is at work, on a toy project with own pictures. What ought to be there is computed
    anew from the plan, the code and the pictures, by nothing that the engine uses."""

    @initialize()
    def begin(self):
        self.patch = pytest.MonkeyPatch()
        self.place = Path(tempfile.mkdtemp(prefix="story-"))
        self.copies = 0
        self.world = World(Path(shutil.copytree(Story.made, self.place / "p0")), self.patch)
        (self.world.folder / "pictures").mkdir()
        (self.world.folder / "pictures/a.txt").write_text("a cat")
        change(self.world.folder / "reports/plans/tiny.yml", "generate:\n", OWN + "generate:\n")

    def teardown(self):
        if hasattr(self, "patch"):
            self.patch.undo()
            shutil.rmtree(self.place)

    def change_the_plan(self, seed, images, title, widths):
        text = toy.PLAN.replace("seed: 7", f"seed: {seed}").replace("images: 6", f"images: {images}")
        text = text.replace("A tiny plan", title).replace("[8, 8]", widths).replace("generate:\n", OWN + "generate:\n")
        (self.world.folder / "reports/plans/tiny.yml").write_text(text)

    def change_the_code(self, factor):
        (self.world.folder / "lib/maths.py").write_text(f"FACTOR = {factor}\n")

    def change_a_notebook(self, times):
        cell(self.world.folder, "40_augment", 3, f"from lib import maths\nfactor = maths.FACTOR * {times}")

    def change_a_picture(self, words):
        (self.world.folder / "pictures/a.txt").write_text(words)

    @rule(edit=EDITS)
    def change(self, edit):
        getattr(self, f"change_{edit[0]}")(*edit[1:])

    @rule(label=st.sampled_from([*JOBS, "train/own"]), when=st.sampled_from(["as it starts", "while it runs", "as it ends"]), edit=EDITS)
    def change_during_the_next(self, label, when, edit):
        self.world.edit = label, when, lambda: self.change(edit)

    @rule(label=st.sampled_from([*JOBS, "train/own"]))
    def fail_next(self, label):
        self.world.failing.add(label)

    @rule(label=st.sampled_from(JOBS), when=st.sampled_from(["before", "during", "after"]))
    def interrupt_next(self, label, when):
        self.world.interrupt = label, when

    @rule(data=st.data())
    def delete_or_cut_a_file(self, data):
        files = [p for name in ("runs", "build") for p in sorted((self.world.folder / "reports" / name).rglob("*"))
                 if p.is_file() and p.name != ".lock"]
        if files:
            file = data.draw(st.sampled_from(files))
            if data.draw(st.booleans()):
                file.unlink()
            else:
                file.write_bytes(file.read_bytes()[:-3])

    @rule(seed=st.integers(0, 99))
    def shuffle_the_times(self, seed):
        for k, file in enumerate(sorted(self.world.folder.rglob("*"))):
            os.utime(file, (10**9 + (k * 7919 + seed * 104729) % 10**6,) * 2)

    @rule()
    def copy_the_project(self):
        self.copies += 1
        self.world.move(Path(shutil.copytree(self.world.folder, self.place / f"p{self.copies}")))

    @rule()
    @precondition(lambda self: self.world.failing or self.world.interrupt or self.world.edit)
    def calm_down(self):
        self.world.failing, self.world.interrupt, self.world.edit = set(), None, None

    @rule()
    def call(self):
        trouble = bool(self.world.failing or self.world.interrupt or self.world.edit)
        code = self.world.call()
        assert code in ((0, 1, 130) if trouble else (0,)), self.world.said
        if code == 0:
            self.world.check()
            self.world.edit = None
            assert self.world.call() == 0 and "everything is up to date" in self.world.said
        self.world.interrupt = None if code == 130 else self.world.interrupt


@pytest.fixture
def story(made):
    Story.made = made
    return Story


def run_stories(story, examples):
    from hypothesis.stateful import run_state_machine_as_test
    run_state_machine_as_test(story, settings=settings(max_examples=examples, stateful_step_count=15, deadline=None,
                                                       derandomize=True, database=None))


def test_whatever_happened_exit_0_means_that_every_run_is_current(story):
    run_stories(story, 5)


@pytest.mark.slow
def test_the_same_in_500_stories(story):
    run_stories(story, 500)
