"""Plans: what they say, what is refused before anything starts, and how a notebook's end is told."""
import json
import random
import re
import sys

import pytest
import toy
from commands import python
from toy import JOBS, PLAN, cell, change, write_plan

from lib import ROOT, InputError
from lib.engine import kernel, make, parameters, values
from lib.engine import plan as plans


# ---------------------------------------------------------------- reading
@pytest.mark.parametrize("text, value", [
    ("1e-4", 1e-4), ("1E3", 1000.0), (".5", 0.5), ("2.", 2.0), ("-3", -3), ("010", 10), ("0x10", 16), ("no", "no"),
    ("on", "on"), ("y", "y"), ("true", True), ("null", None), ("~", None), ("", ""), ("12:30", "12:30"),
    ("[1, 2]", [1, 2]), ("'1'", "1"),
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


def test_a_sweep_makes_a_run_for_each_value_and_its_line_names_them_all(project):
    plan = write_plan(project, "train: {a: {}}\ngenerate:\n  a: {train_run: a, images: {sweep: [3, 4]}, seed: {sweep: [0, 1]}}\n  b: {train_run: a}\n"
                               "augment:\n  all: {generate_runs: [a, b]}\n  one: {generate_runs: [a-images-4-seed-1]}\n  w: {generate_runs: [b], widths: {sweep: [[8], [8, 16]]}}\n")
    assert [job.name for job in plan.of("generate")] == ["a-images-3-seed-0", "a-images-3-seed-1", "a-images-4-seed-0", "a-images-4-seed-1", "b"]
    assert [(job.config.images, job.config.seed) for job in plan.of("generate")[:4]] == [(3, 0), (3, 1), (4, 0), (4, 1)]
    assert [len(plan.job("augment", name).upstream) for name in ("all", "one")] == [5, 1]
    assert [job.name for job in plan.of("augment")] == ["all", "one", "w-widths-8", "w-widths-8-16"]
    assert len(plan.called("generate/a")) == 4 and [job.label for job in plan.only("augment/one").jobs] == [
        "train/a", "generate/a-images-4-seed-1", "augment/one"]


@pytest.mark.parametrize("text, words", [
    ("train: {a: {steps: {sweep: 3}}}", "train.a: steps: sweep: 3: expected a list of values"),
    ("train: {a: {steps: {sweep: []}}}", "expected a list of values"),
    ("train: {a: {steps: {sweep: [1, 1]}}}", "two runs have the name 'a-steps-1'"),
    ("train: {a: {steps: {sweep: [1, x]}}}", "train.a-steps-x: steps='x' is str"),
    ("train: {a: {steps: {sweep: [1, 2]}}}\ngenerate: {g: {train_run: a}}", "train_run='a, a sweep': expected the name of a run"),
])
def test_a_sweep_that_makes_no_runs_of_their_own_is_refused(project, text, words):
    with pytest.raises(InputError, match=re.escape(words)):
        write_plan(project, text + "\n")


REPLICATED = ("replicates: 3\ntrain:\n  a: {seed: 5}\n  b: {replicates: 1}\n"
              "generate:\n  a: {train_run: a}\n  b: {train_run: b}\n  few: {train_run: a, replicates: 2}\n  last: {train_run: a.2}\n"
              "augment:\n  s: {generate_runs: [a, few.1, b]}\nablation: {}\n")


def test_replicates_are_complete_repetitions_with_seeds_of_their_own(project):
    plan = write_plan(project, REPLICATED)
    assert [job.label for job in plan.of("train")] == ["train/a.0", "train/a.1", "train/a.2", "train/b"]
    assert [(job.name, job.config.train_run.rpartition("/")[2], job.config.seed) for job in plan.of("generate")] == [
        ("a.0", "a.0", 0), ("a.1", "a.1", 1), ("a.2", "a.2", 2), ("b", "b", 0), ("few.0", "a.0", 0), ("few.1", "a.1", 1), ("last", "a.2", 0)]
    assert [job.config.seed for job in plan.of("train")] == [5, 6, 7, 0]
    assert [job.upstream[0].name for job in plan.of("generate")] == ["a.0", "a.1", "a.2", "b", "a.0", "a.1", "a.2"]
    study = plan.job("augment", "s")
    assert [u.label for u in study.upstream] == [f"generate/{name}" for name in ("a.0", "a.1", "a.2", "few.1", "b")]
    assert len(plan.job("report", "default").config.runs) == len(plan.jobs) - 1


def test_a_study_is_made_of_the_replicates_that_are_there(project):
    job = write_plan(project, REPLICATED.replace("[a, few.1, b]", "[a]")).job("augment", "s")
    everything = {u.label for u in job.upstream}
    values = make.of_the_rest(job, everything - {"generate/a.1"})
    assert [folder.rpartition("/")[2] for folder in values["generate_runs"]] == ["a.0", "a.2"]
    assert make.of_the_rest(job, {"generate/a.1"}) is None                      # one is no study of replicates
    crossed = write_plan(project, REPLICATED.replace("[a, few.1, b]", "[b]")).job("augment", "s")
    assert make.of_the_rest(crossed, set()) is None


def test_images_from_elsewhere_are_read_in_replicates_and_compared_with_drawn_ones(tmp_path):
    (tmp_path / "mixed.yml").write_text(
        "replicates: 3\ncommon: {dataset: digits, canvas: 0, per_class: 50}\ntrain: {a: {}}\ngenerate: {a: {train_run: a}}\nexternal: {made: {}}\n"
        "augment: {both: {generate_runs: [a, made]}, made: {generate_runs: [made]}}\n")
    plan = plans.read_plan(str(tmp_path / "mixed.yml"))
    assert [u.label for u in plan.job("augment", "both").upstream] == [f"{step}.{r}" for step in ("generate/a", "external/made") for r in range(3)]
    assert [(job.config.data_seed, job.config.seed) for job in plan.of("external")] == [(0, 0), (1, 1), (2, 2)]
    assert plans.trained(plan.job("augment", "made")).label == "external/made.0" and plan.of("ablation")
    alone = plans.read_plan("own-synthetic")
    assert {job.step for job in alone.jobs} == {"external", "augment", "report"} and len(alone.of("external")) == 5


def test_each_replicate_of_a_training_has_a_split_of_its_own():
    jobs = plans.read_plan("smoke").of("train")
    assert [(job.name, job.config.data_seed, job.config.seed) for job in jobs if job.family == "cosine"] == [
        ("cosine.0", 0, 0), ("cosine.1", 1, 1)]


def test_a_plan_may_lie_elsewhere_but_not_take_another_ones_runs(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("plans")
    (elsewhere / "mine.yml").write_text(PLAN)
    (elsewhere / "tiny.yml").write_text(PLAN)
    plan = plans.read_plan(str(elsewhere / "mine.yml"))
    assert plan.folder == project / "reports/runs/mine" and plan.job("report", "default").config.plan == "mine"
    with pytest.raises(InputError, match="another plan has the name 'tiny'"):
        plans.read_plan(str(elsewhere / "tiny.yml"))
    (elsewhere / "my plan.yml").write_text(PLAN)
    with pytest.raises(InputError, match="expected a file name of letters, digits and"):
        plans.read_plan(str(elsewhere / "my plan.yml"))


def test_a_plan_is_the_same_by_name_through_a_link_and_with_dots_in_its_path(project, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "checkout"
    link.symlink_to(project)
    paths = ["tiny", "reports/plans/tiny.yml", "reports/plans/../plans/tiny.yml", str(link / "reports/plans/tiny.yml"), str(project / "reports/plans/tiny.yml")]
    assert {plans.read_plan(path).file for path in paths} == {project / "reports/plans/tiny.yml"}


BAD_PLANS = {
    "train: {a: {schedul: linear}}": "train.a: unknown parameter 'schedul', perhaps 'schedule'; accepted are",
    "train: {a: {schedule: cosin}}": "train.a: schedule='cosin': expected one of 'linear', 'cosine'",
    "train: {a: {schedule: no}}": "train.a: schedule='no': expected one of",
    "train: {a: {steps: 1.5}}": "train.a: steps=1.5 is float, expected a number (int)",
    "train: {a: {lr: '1e-4'}}": "train.a: lr='1e-4' is str, expected a number (float)",
    "train: {a: {lr: 1, lr: 2}}": 'line 1: found duplicate key "lr"',
    "train: {a: {}}\ntrain: {b: {}}": 'line 2: found duplicate key "train"',
    "train: {a: {run_dir: x}}": "train.a: run_dir is set by the plan itself",
    "train: {a: 3}": "train.a: expected lines of the form parameter: value, not 3",
    "train: [a]": "train: expected lines of the form name: value, not ['a']",
    "train: {../a: {}}": "train: the run name '../a': expected text of letters, digits",
    "train: {a.: {}}": "train: the run name 'a.': expected text of letters",
    "train: {a: {}, A: {}}": "train: the run names a and A differ by case only: expected names that every system tells apart",
    "train: {}": "train: expected at least one run",
    "title: x": "train: expected at least one run",
    "": "expected lines of the form name: value, not None",
    "just words": "expected lines of the form name: value, not 'just words'",
    "train: {a: {}": "line 1: expected ',' or '}'",
    "trian: {a: {}}": "unknown name 'trian', perhaps 'train'; accepted are",
    "title: 3\ntrain: {a: {}}": "title=3 is int, expected text",
    "train: {a: {}}\ncommon: {sead: 1}": "common: unknown name 'sead', perhaps 'seed'; accepted are",
    "train: {a: {}}\ncommon: {runs: [x]}": "common: unknown name 'runs'",
    "train: {a: {}}\ncommon: {seed: x}": "train.a: seed='x' is str, expected a number (int)",
    "replicates: 0\ntrain: {a: {}}": "replicates=0: expected a number from 1 to 100",
    "train: {a: {replicates: 2}}": "train.a: replicates=2: expected a number from 1 to 1",
    "replicates: 2\ntrain: {a: {}, a.1: {replicates: 1}}": "train.a.1: another run has the name 'a.1'",
    "replicates: 2\ntrain: {a: {replicates: 1}}\ngenerate: {a: {train_run: a, replicates: 2}}": "generate.a: replicates=2: expected a number from 1 to 1",
    "train: {a: {}}\naugment: {a: {replicates: 2}}": "augment.a: generate_runs=None",
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


def refusal(act, *words):
    """The sentence with which `act` refuses, '' where it doesn't."""
    try:
        act(*words)
    except InputError as error:
        return str(error)
    return ""


def test_a_bad_plan_is_refused_in_one_sentence(project):
    told = {text: refusal(write_plan, project, text) for text in BAD_PLANS}
    expected = {text: "reports/plans/tiny.yml: " + words for text, words in BAD_PLANS.items()}
    assert {text: words[:len(expected[text])] for text, words in told.items()} == expected
    assert all("\n" not in words and len(words) <= values.LONGEST for words in told.values())


def test_all_runs_that_are_refused_are_told_at_once_and_once(project):
    told = refusal(write_plan, project, "common: {seed: x}\ntrain: {a: {}, b: {}, c: {seed: 1, lr: -1}, d: {seed: 1}}\n"
                                        "generate: {a: {train_run: a, seed: 1}, e: {train_run: e, seed: 1}, d: {train_run: d, seed: 1}}")
    assert told.splitlines() == [f"reports/plans/tiny.yml: {words}" for words in (
        "train.a: seed='x' is str, expected a number (int)", "train.c: lr=-1: expected more than 0",
        "generate.e: train_run='e': expected the name of a run of the step train: d")]


# ---------------------------------------------------------------- values that are fine alone and not together
WHOLE = """\
train:
  a: &a {per_class: 20, T: 20}
  b: {<<: *a, canvas: 9}
generate:
  a: &g {train_run: a, images_per_class: 4, sample_steps: 5}
  again: {<<: *g, seed: 1}
  clear: {<<: *g, guidance: 3.0}
  other: {<<: *g, train_run: b}
augment:
  a: {generate_runs: [a], batch: 64, arms: ["real", "real + synthetic"]}
dose:
  a: {generate_runs: [a], ratios: [0, 0.2]}
"""
TOGETHER = {  # what is changed in WHOLE: the sentence about it
    ("canvas: 9", "dataset: fashion_mnist"): "train.b: canvas=12: dataset='fashion_mnist' takes no canvas: expected canvas=0; it takes",
    ("canvas: 9", "classes: ['1', '2']"): "train.b: classes=['1', '2']: dataset='digits' takes no classes: expected classes=[]",
    ("canvas: 9", "canvas: 9, patch: 2"): "train.b: patch=2: expected a divisor of the image's sides, 9 x 9",
    ("canvas: 9", "canvas: 9, attn_resolutions: [5, 4]"): "train.b: attn_resolutions=[5, 4]: no level has the size 4: expected some of 9, 5",
    ("sample_steps: 5", "sample_steps: 21"): "generate.a: sample_steps=21: expected at most T=20 of the training a",
    ("T: 20", "T: 20, label_drop: 0"): "generate.a: guidance=2.0: expected 1, as the training a has label_drop=0 and so knows",
    ("guidance: 3.0", "fid: true"): "generate.clear: fid=True: expected the package torch-fidelity: pip install torch-fidelity",
    ("[a], batch", "[a, other], batch"): "augment.a: generate_runs: canvas is 12 and 9: expected generators that learned from the same images",
    ("[a], batch", "[a, again, clear], batch"): "augment.a: generate_runs: guidance 2.0: 2; guidance 3.0: 1: expected as many repeats",
    ("[a], batch", "[a, a], batch"): "augment.a: generate_runs: a and a make the same images: expected another seed or another training",
    ("batch: 64", "batch: 1"): "augment.a: synthetic_fraction=0.5 of batch=1: expected at least one real and one synthetic image in it",
    ('["real", ', '["real", "real", '): "augment.a: arms=['real', 'real', 'real + synthetic']: expected each once",
    ("[0, 0.2]", "[0, 5]"): "dose.a: ratios=[0, 5]: expected at most 0.2, 4 synthetic for 20 real images of each class; raise",
    ("[0, 0.2]", "[0, 0.02]"): "dose.a: ratios=[0, 0.02]: expected 0, or at least 0.05, one synthetic image of each class",
    ("[0, 0.2]", "[0]"): "dose.a: ratios=[0]: expected one above 0 among them",
    ("[0, 0.2]", "[0, 0.2], shares: [0, 0.001]"): "dose.a: shares=0.001 of batch=64: expected at least one real and one synthetic",
    ("generate_runs: [a], ratios", "generate_runs: [a, other], ratios"): "dose.a: generate_runs: canvas is 12 and 9: expected",
}


def together(folder, *changes):
    text = WHOLE
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    (folder / "mine.yml").write_text(text)
    return refusal(plans.read_plan, str(folder / "mine.yml")).splitlines()


def test_values_that_do_not_fit_together_are_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setattr(parameters.importlib.util, "find_spec", lambda name: None)
    assert together(tmp_path) == []
    for words, sentence in TOGETHER.items():
        told = together(tmp_path, words)
        assert told and told[0].startswith(f"{tmp_path}/mine.yml: {sentence}"), (words, told)


def test_all_that_does_not_fit_is_told_at_once(tmp_path):
    told = together(tmp_path, ("guidance: 3.0", "sample_steps: 50"), ("batch: 64", "batch: 1"), ("[0, 0.2]", "[0, 5]"))
    assert [line.split(": ")[1] for line in told] == ["generate.clear", "augment.a", "dose.a"], told


def test_what_only_the_images_can_tell_is_asked_before_anything_starts(tmp_path):
    (tmp_path / "mine.yml").write_text(WHOLE.replace("per_class: 20", "per_class: 0").replace("[0, 0.2]", "[0, 0.1]"))
    plan = plans.read_plan(str(tmp_path / "mine.yml"))
    told = refusal(plans.check_data, plan, ["train/a", "train/b"])
    assert told.startswith(f"{tmp_path}/mine.yml: dose.a: ratios=[0, 0.1]: expected at most 0.055") and len(told.splitlines()) == 1
    (tmp_path / "mine.yml").write_text(WHOLE.replace("per_class: 20", "per_class: 200").replace("[0, 0.2]", "[0, 0.02]"))
    told = refusal(plans.check_data, plans.read_plan(str(tmp_path / "mine.yml")), ["train/a", "train/b"])
    assert [line.partition("yml: ")[2][:40] for line in told.splitlines()] == ["train.a: per_class=200: expected at most"]


def test_the_images_of_a_finished_training_are_asked_for_before_they_are_read_again(tmp_path, monkeypatch):
    def check(config):
        raise InputError("data_dir='x': it is not there")
    monkeypatch.setattr("lib.data.check", check)
    (tmp_path / "mine.yml").write_text("train: {a: {dataset: folder, canvas: 0}}\ngenerate: {a: {train_run: a}}\n")
    plan = plans.read_plan(str(tmp_path / "mine.yml"))
    assert refusal(plans.check_data, plan, ["generate/a"]) == f"{tmp_path}/mine.yml: generate.a: data_dir='x': it is not there"


def test_a_problem_of_ten_repetitions_is_told_once_and_each_problem_of_a_folder_has_its_line(tmp_path, monkeypatch):
    (tmp_path / "mine.yml").write_text("replicates: 10\ntrain: {a: {dataset: folder, canvas: 0}}\ngenerate: {a: {train_run: a}}\n")
    plan, asked = plans.read_plan(str(tmp_path / "mine.yml")), []

    def check(config):
        asked.append(config.data_seed)
        raise InputError("data_dir='x': too few\ndata_dir='x': too small" + ", in this split" * (config.data_seed == 3))
    monkeypatch.setattr("lib.data.check", check)
    told = refusal(plans.check_data, plan, [job.label for job in plan.jobs]).splitlines()
    assert told == [f"{tmp_path}/mine.yml: {words}" for words in ("train.a.0: data_dir='x': too few", "train.a.0: data_dir='x': too small",
                                                                  "train.a.3: data_dir='x': too small, in this split")]
    assert asked == list(range(10))


def test_a_dry_run_downloads_nothing_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.data.check", lambda config: pytest.fail("it was loaded"))
    (tmp_path / "mine.yml").write_text(f"replicates: 3\ntrain: {{a: {{dataset: cifar10, canvas: 0, data_dir: {tmp_path}/new}}}}\n")
    plan = plans.read_plan(str(tmp_path / "mine.yml"))
    assert plans.check_data(plan, [job.label for job in plan.jobs], download=False) == [tmp_path / "new/cifar-10-batches-py"]


def test_a_device_that_is_not_there_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "mine.yml").write_text(WHOLE.replace("sample_steps: 5", "sample_steps: 5, device: cuda"))
    plan = plans.read_plan(str(tmp_path / "mine.yml"))
    assert refusal(plans.check_devices, plan, ["train/a"]) == ""
    assert refusal(plans.check_devices, plan, ["generate/a"]).startswith(f"{tmp_path}/mine.yml: generate.a: device='cuda': expected 'auto' or")


NASTY = ["", "~", "[]", "{}", ".nan", "-.inf", "1e400", "9" * 5000, "-1", "0x" + "f" * 400, "1e-4", "'", '"', "*a", "&a", "<<",
         "!!python/name:os.system", "!!binary x", "!!float x", "!!set {a}", "2026-99-99", "=", "\t", "\x00", "\u2028", "\ud800",
         '"\\ud800"', '"\\0"', "x" * 10**5, "[" * 3000, "{a: " * 500, "{x} {y!r}", "12:30", "\U0001f984", "../..", "? [a]\n: b", "- x",
         "&b [*b]", "{? {a: 1} : 2}", "|", ">-", "%YAML 1.1", "---", "...", "@", "`", "[1, 'x', 2.5, null]", "true", "no"]


def mutations(text, number, seed=0):
    """So many plans as people and editors leave them, as bytes."""
    yield from (text.encode("utf-16"), b"\xff" + text.encode(), text.replace("title: ", "title: \xfc ").encode("latin-1", "replace"),
                text.replace("  ", "\t").encode(), b"")
    chance = random.Random(seed)
    for _ in range(number):
        lines = text.splitlines()
        for _ in range(chance.choice([1, 1, 2, 4])):
            k = chance.randrange(len(lines))
            head, sign, tail = lines[k].partition(": ")
            nasty, place = chance.choice(NASTY), chance.randrange(len(lines[k]) + 1)
            lines[k] = chance.choice([head + sign + nasty, nasty + sign + tail, lines[k][:place] + nasty + lines[k][place:],
                                      lines[k][:place] + lines[k][place + 3:], lines[chance.randrange(len(lines))], "", "  " + lines[k]])
        yield "\n".join(lines).encode("utf-8", "surrogatepass")


def test_whatever_a_plan_holds_it_is_read_or_refused_in_short_lines(tmp_path):
    text, file, refused, number = (ROOT / "reports/plans/smoke.yml").read_text(), tmp_path / "mine.yml", 0, 50
    for content in mutations(text, number):
        file.write_bytes(content)
        told = refusal(plans.read_plan, str(file))                   # any other error fails the test
        assert all(len(line) <= values.LONGEST for line in told.splitlines()), told
        refused += bool(told)
    assert refused > number / 2


@pytest.mark.slow
def test_whatever_a_value_is_it_is_taken_or_refused_in_one_line():
    known_values = {step: parameters.defaults(s.file) for step, s in parameters.STEPS.items()}
    for text in NASTY:
        told = {text: refusal(plans.parse_value, text)}
        for step, known in known_values.items() if not told[text] else ():
            value = plans.parse_value(text)
            told |= {name: refusal(parameters.build, parameters.STEPS[step].config, known | {name: value}) for name in known}
        assert all(len(words) <= values.LONGEST + 100 and len(words.splitlines()) <= 1 for words in told.values()), told


def test_braces_and_times_in_a_title_are_words(project):
    plan = write_plan(project, "title: 12:30 {x}\nabout: 'a {b!r} {'\n" + PLAN.partition("\n")[2].partition("\n")[2])
    assert (plan.title, plan.about) == ("12:30 {x}", "a {b!r} {")
    assert plan.job("report", "default").config.title == "12:30 {x}"


EDITED = {  # what a student did to the notebook of the training: what the sentence says
    "an expression": (lambda p: cell(p, "20_train_ddpm", 0, "lr = 10 ** -3"), "notebooks/20_train_ddpm.ipynb, cell 1: 'lr = 10 ** -3': "
                      "expected a line of the form name = value, the value a number, a text or a list of them"),
    "an import": (lambda p: cell(p, "20_train_ddpm", 0, "import os\nlr = 1"), "notebooks/20_train_ddpm.ipynb, cell 1: 'import os': expected"),
    "a mistake": (lambda p: cell(p, "20_train_ddpm", 0, "lr = = 1"), "notebooks/20_train_ddpm.ipynb, cell 1: line 1: invalid syntax"),
    "a lost tag": (lambda p: change(p / "notebooks/20_train_ddpm.ipynb", '"parameters"', '"parameter"'),
                   "notebooks/20_train_ddpm.ipynb: 0 cells have the tag 'parameters': expected one"),
    "a merge conflict": (lambda p: change(p / "notebooks/20_train_ddpm.ipynb", '{"cells"', '\n<<<<<<< HEAD\n{"cells"'),
                         "notebooks/20_train_ddpm.ipynb: it holds a merge conflict (<<<<<<<): choose one of the two versions"),
    "half of it": (lambda p: (p / "notebooks/20_train_ddpm.ipynb").write_text('{"cells": ['),
                   "notebooks/20_train_ddpm.ipynb: it can't be read as a notebook; `git checkout"),
    "it is gone": (lambda p: (p / "notebooks/20_train_ddpm.ipynb").unlink(), "notebooks/20_train_ddpm.ipynb: it can't be read"),
}


@pytest.mark.parametrize("what", EDITED)
def test_a_notebook_that_was_edited_is_named_with_its_cell(project, what):
    act, told = EDITED[what]
    act(project)
    assert told in refusal(plans.read_plan, "tiny")


def test_only_plans_that_use_an_edited_notebook_are_stopped(project):
    cell(project, "40_augment", 0, "widths = [2 ** 3]")
    assert plans.read_plan("one").jobs
    assert "notebooks/40_augment.ipynb, cell 1" in refusal(plans.read_plan, "tiny")


def test_an_unknown_plan_lists_those_there_are(project):
    with pytest.raises(InputError, match=r"plan 'tini': expected one of one, tiny, or the path of a \.yml file"):
        plans.read_plan("tini")


@pytest.mark.parametrize("trainings, cores, threads", [(1, 2, 2), (2, 2, 1), (5, 2, 1), (2, 16, 8), (3, 1, 1)])
def test_as_many_trainings_as_possible_stand_side_by_side(project, trainings, cores, threads):
    runs = ", ".join(f"r{i}: {{}}" for i in range(trainings))
    assert write_plan(project, f"train: {{{runs}}}").threads(cores) == threads


@pytest.mark.parametrize("file", sorted((ROOT / "reports/plans").glob("*.yml")), ids=lambda file: file.stem)
def test_every_plan_of_the_project_can_be_read(file):
    assert plans.read_plan(file.stem).title != file.stem


# ---------------------------------------------------------------- how a notebook ends
def run_train(project, **values):
    """Run the toy's training; (the status of its cells, what its executed copy says of the whole)."""
    out = project / "reports/runs/interactive/train/default/notebook.ipynb"
    try:
        kernel.run_notebook(project / "notebooks/20_train_ddpm.ipynb", out, values)
        error = None
    except Exception as caught:
        error = caught
    assert not list(out.parent.glob(".*.tmp*"))                             # whole, and no rest of a temporary file
    book = json.loads(out.read_text())
    assert str(project) not in json.dumps(book)
    return [c["metadata"]["papermill"]["status"] for c in book["cells"] if "papermill" in c["metadata"]], book["metadata"]["papermill"], error


@pytest.mark.slow
def test_an_executed_notebook_says_how_it_ended_and_names_no_place(project):
    cells, whole, error = run_train(project, trouble="warns")
    assert set(cells) == {"completed"} and whole["status"] == "completed" and error is None
    cells, whole, error = run_train(project, trouble="error")
    assert str(error) == "ZeroDivisionError: division by zero" and isinstance(error, kernel.NotebookFailed)
    assert whole["status"] == "failed" and whole["exception"] and cells[-2:] == ["failed", "pending"]
    cells, whole, error = run_train(project, trouble="killed")
    assert "killed (out of memory?)" in str(error) and whole["status"] == "killed" and cells[-2:] == ["killed", "pending"]
    _, _, error = run_train(project, trouble="refused")
    assert isinstance(error, InputError) and str(error) == "steps=10: expected more"


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


def test_a_missing_run_of_a_plan_is_named_with_what_makes_it(project, monkeypatch):
    with pytest.raises(InputError, match="run 'reports/runs/tiny/train/linear' is not finished: `python3 -m lib report "
                                         "tiny` makes it"):
        kernel.ensure("reports/runs/tiny/train/linear")
    with pytest.raises(InputError, match="-m lib run train run_dir=reports/runs/interactive/train/x` makes it"):
        kernel.ensure("reports/runs/interactive/train/x")
    toy.be_quick(monkeypatch)
    toy.run_here(project, plans.read_plan("tiny").job("train", "linear").values)
    assert kernel.ensure("reports/runs/tiny/train/linear") is None


@pytest.mark.parametrize("run_dir", ["reports/runs/tiny/train/linear", "reports/runs/interactive/generate/x", "reports/runs/interactive/x",
                                     "reports", "/tmp/x", "reports/runs/interactive/train/../../../../lib"])
def test_an_interactive_run_writes_below_its_own_folder_only(project, run_dir):
    with pytest.raises(InputError, match="^run_dir=.*: expected reports/runs/"):
        kernel.run_interactive("train", {"run_dir": run_dir})
    with pytest.raises(InputError, match="^run_dir=.*: expected reports/runs/"):     # as a notebook that is opened in JupyterLab
        toy.run_here(project, parameters.defaults(project / "notebooks/20_train_ddpm.ipynb") | {"run_dir": run_dir}, asked=False)
