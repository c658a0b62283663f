"""The commands: what they refuse, what runs again after which change, and how they take failures, kills and Ctrl-C."""
import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import processes, python
from toy import JOBS, LINEAR, ONE, PLAN, change, make_project

import lib.__main__ as front_door
from lib import ROOT, InputError
from lib.engine import commands, environment


def report(project, *words):
    return python(project, "-m", "lib", "report", *words)


# ---------------------------------------------------------------- without a plan
@pytest.mark.parametrize("file", ["lib/__main__.py", "lib/__init__.py"])
def test_an_old_python_can_read_the_front_door(file):
    ast.parse((ROOT / file).read_text(), feature_version=(3, 6))


def test_an_old_python_is_told_what_is_needed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert front_door.main(["report"]) == 2
    assert capsys.readouterr().err == "Python 3.11 or newer is needed, and this is 3.9\n"


def test_help_names_every_command_and_needs_no_environment():
    bare = "import runpy, sys; sys.path.insert(0, '.'); sys.argv += ['-h']; runpy.run_module('lib', None, '__main__')"
    done = python(ROOT, "-I", "-S", "-c", bare)
    assert done.returncode == 0 and done.stderr == ""
    assert all(f"\n    {command} " in done.stdout for command in ("report", "accept", "test", "lab", "run", "dream", "bench", "publish", "handout", "grade"))
    assert "exit codes: 0 done, 1 a run or test failed" in done.stdout


def test_without_docstrings_help_names_every_command():
    done = python(ROOT, "-OO", "-m", "lib", "-h")
    assert done.returncode == 0 and "    publish " in done.stdout, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_stops_no_command_and_no_file_takes_its_number(closed, tmp_path):
    project, told = make_project(tmp_path / "p"), tmp_path / "told"
    code = f"import os, sys; from lib import __main__; code = __main__.main(['report', 'tiny', '-n']); os.fstat(0), os.fstat(1), os.fstat(2); number = os.open({str(told)!r}, os.O_CREAT | os.O_WRONLY); os.write(number, str([code, number > 2]).encode())"
    done = subprocess.run(["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code], cwd=project, capture_output=True, text=True)
    assert told.read_text() == "[0, True]" and done.stderr == "", done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_too_few_open_files_are_told_before_anything_starts(tmp_path):
    project = make_project(tmp_path)
    done = subprocess.run(["sh", "-c", 'ulimit -n 64; exec "$0" -m lib report tiny -n', sys.executable], cwd=project, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ulimit -n is 64: expected at least 256 open files: call `ulimit -n 1024` first\n"


@pytest.mark.parametrize("words, sentence", [
    (["reprot"], "invalid choice: 'reprot'"),
    (["report", "a", "b"], "unknown words: b"),
    (["report", "--gpu"], "unknown words: --gpu"),
    (["report", "nothing"], "plan 'nothing': expected one of"),
    (["run", "60_more"], "notebook '60_more': expected one of schedules, 10_schedules, train"),
    (["run", "train", "steps"], "'steps': expected NAME=VALUE"),
    (["run", "train", "stepz=3"], "unknown parameter 'stepz', perhaps 'steps'"),
    (["run", "train", "steps=no"], "steps='no' is str, expected a number (int)"),
    (["run", "train", "lr=[1"], "'[1' is no YAML value"),
    (["run", "train", "run_dir=reports/runs/digits/train/linear"], "expected reports/runs/interactive/train/<name>"),
    (["dream", "nothing"], "network 'nothing': expected one of"),
    (["dream", "--per-class", "0"], "--per-class 0: expected 1 to 1,000"),
    (["dream", "--guidance", "-1"], "--guidance -1.0: expected 0 to 100"),
    (["dream", "--guidance", "nan"], "--guidance nan: expected 0 to 100"),
    (["dream", "--seed", "2147483648"], "--seed 2147483648: expected 0 to 2,147,483,647"),
    (["dream", "--steps", "5000"], "--steps 5000: expected 1 to 1,000"),
    (["dream", "--classes", "cat"], "usage: python3 -m lib dream"),
    (["run", "train", "x; import os=2"], "unknown parameter 'x; import os'"),
    (["run", "train", "schedule=__import__('os').mkdir('trace')"], "schedule=\"__import__('os').mkdir('trace')\": expected one of"),
    (["bench", "--only", "trian"], "--only trian: expected one of train-32x32, train-8x8, sample-32x32"),
    (["bench", "--rounds", "0"], "--rounds 0: expected 1 or more"),
    (["handout", "nothing"], "notebook 'nothing': expected one of ddpm_by_hand, or the path of a notebook"),
    (["accept", "nothing", "--because", "x"], "plan 'nothing': expected one of"),
    (["accept", "smoke"], "the following arguments are required: --because"),
    (["accept", "smoke", "--because", " "], "--because ' ': expected a reason"),
    (["grade"], "the following arguments are required: FILE"),
    (["grade", "--handout", "nothing", "README.md"], "notebook 'nothing': expected one of ddpm_by_hand"),
])
def test_a_wrong_word_ends_with_2_and_a_sentence(words, sentence, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    try:
        assert front_door.main(words) == 2
    except SystemExit as stop:
        assert stop.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("words, sentence", [
    (["own", "--data-dir", "/nonexistent"], "reports/plans/own.yml: train.cosine.0: data_dir='/nonexistent': expected a folder of class folders, with images as "
     "class/name.png; --data-dir names it"),
    (["{folder}/fashion.yml"], "{folder}/fashion.yml: train.a: canvas=12: dataset='fashion_mnist' takes no canvas: expected canvas=0; it takes data_dir, size, per_class, "
     "classes")])
def test_a_dry_run_refuses_what_the_call_refuses(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DREAMING_DATA_DIR", "")
    (tmp_path / "fashion.yml").write_text("train: {a: {dataset: fashion_mnist}}\n")
    for dry in ([], ["--dry-run"]):
        assert front_door.main(["report", *(word.format(folder=tmp_path) for word in words), *dry]) == 2
        assert capsys.readouterr().err == sentence.format(folder=tmp_path) + "\n"


def test_elsewhere_than_the_root_one_sentence_says_where_to_go(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert front_door.main(["report"]) == 2
    assert capsys.readouterr().err == f"call this from the repository's root: cd {ROOT}\n"


@pytest.mark.parametrize("file", ["lib", "lib/__main__.py"])
def test_called_as_a_file_one_sentence_says_how_to_call_it(file, tmp_path):
    done = subprocess.run([sys.executable, ROOT / file, "report"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == "call this as `python3 -m lib`, from the repository's root\n"


def test_a_data_dir_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DREAMING_DATA_DIR", "before")
    with pytest.raises(InputError):
        commands.report(commands.read(["report", "nothing", "--data-dir", "sets"]))
    assert os.environ["DREAMING_DATA_DIR"] == str(tmp_path / "sets")


# ---------------------------------------------------------------- the environment
@pytest.mark.parametrize("text, lines", [
    ("dependencies:\n  - python\n  - pip\n  - pip:\n      - -e .[test]\n", ["-e .[test]"]),
    ("dependencies:\n- pip:  # comment\n  # one\n  - 'numpy>=1'\n\n  - scipy  # two\n- other\n", ["numpy>=1", "scipy"]),
    ("dependencies:\n  - python\n  - pip\n", []),
])
def test_the_pip_section_is_read_without_a_library(text, lines):
    assert environment.pip_section(text) == lines


def test_our_environment_file_installs_the_project_itself():
    assert environment.pip_section((ROOT / "environment.yml").read_text()) == ["-e .[test]"]


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A repository without an environment, whose packages are none, in a folder of any name."""
    tmp_path = tmp_path / "a clone #1 {x}"
    (tmp_path / "lib").mkdir(parents=True)
    (tmp_path / "lib/__init__.py").write_text("")
    (tmp_path / "environment.yml").write_text("dependencies:\n  - pip:\n      - -r nothing.txt\n")
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = []\noptional-dependencies = {test = []}\n')
    (tmp_path / "nothing.txt").write_text("")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "ENV", tmp_path / ".venv")
    return tmp_path


def test_pip_is_asked_for_what_the_project_needs_and_never_builds_it(bare):
    (bare / "environment.yml").write_text("dependencies:\n  - pip:\n      - -e .[test, bench]\n      - -r nothing.txt\n      - scipy>=1\n")
    (bare / "pyproject.toml").write_text('[project]\ndependencies = ["a>=1"]\noptional-dependencies = {test = ["b"], bench = ["c", "d"]}\n')
    assert environment.pip_words() == ["a>=1", "b", "c", "d", "-r", "nothing.txt", "scipy>=1"]


@pytest.mark.slow
def test_the_environment_is_made_once_and_an_interrupted_set_up_goes_on(bare, monkeypatch, capsys):
    (bare / "nothing.txt").write_text("./missing\n")
    with pytest.raises(InputError, match="pip could not install the packages"):
        environment.make()
    assert not (bare / ".venv/stamp").exists()
    (bare / "nothing.txt").write_text("")
    python = environment.make()
    prefix = subprocess.check_output([python, "-c", "import sys; print(sys.prefix)"], text=True)
    assert prefix.strip() == str(bare / ".venv")
    found = subprocess.check_output([python, "-E", "-c", "import lib; print(lib.__file__)"], text=True, cwd=bare.parent)
    assert found.strip() == str(bare / "lib/__init__.py")
    monkeypatch.setattr(subprocess, "Popen", None)              # pip is not asked again
    assert environment.make() == python
    said = capsys.readouterr().out
    assert said.count("Making the environment") == said.count("Bringing the environment .venv up to date") == 1
    (bare / "pyproject.toml").write_text('[project]\ndependencies = ["x"]\noptional-dependencies = {}\n')
    with pytest.raises(TypeError):                              # other packages: pip is asked
        environment.make()


def test_a_full_disk_is_told_before_anything_is_made(bare, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**10, 10**10, 3 * 10**9))
    with pytest.raises(InputError, match=r"^3\.0 GB are free .* 8 GB are expected$"):
        environment.make()
    assert not (bare / ".venv").exists()


def test_a_python_without_ensurepip_is_told_the_package(bare, monkeypatch):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="install the package python3-venv"):
        environment.make()
    assert not (bare / ".venv").exists()


def test_an_active_environment_without_the_packages_is_told_the_cure(bare, monkeypatch):
    monkeypatch.setattr(environment, "STACK", ("json", "no_such_package"))
    monkeypatch.setattr(sys, "prefix", "/somewhere")
    with pytest.raises(InputError, match="environment /somewhere lacks no_such_package: run `python -m pip install -r"):
        environment.enter([])


@pytest.mark.parametrize("conda, name, inside", [("", "", False), ("/conda", "base", False), ("/conda", "mine", True),
                                                 ("/other", "mine", False)])
def test_an_active_conda_environment_is_used_unless_it_is_base(monkeypatch, conda, name, inside):
    monkeypatch.setattr(sys, "prefix", "/conda")
    monkeypatch.setattr(sys, "base_prefix", "/conda")
    monkeypatch.setenv("CONDA_PREFIX", conda)
    monkeypatch.setenv("CONDA_DEFAULT_ENV", name)
    assert environment.is_active() is inside


# ---------------------------------------------------------------- a finished plan, and what a change makes again
@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small project whose plan was reported on once."""
    project = make_project(tmp_path_factory.mktemp("project") / "p")
    done = report(project, "tiny")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    (project / "said").write_text(done.stdout)
    return project


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.mark.slow
def test_a_report_tells_of_every_run_and_where_it_lies(finished):
    said = (finished / "said").read_text()
    lines = said.splitlines()
    assert lines[0] == "plan tiny (A tiny plan): 9 runs, minutes: 1"
    assert sorted(re.findall(r"\] (\S+) done in \d+ s$", said, re.M)) == sorted(JOBS)
    assert {line.split("]")[0] for line in lines if line.startswith("[")} == {f"[{i}/9" for i in range(1, 10)}
    assert re.fullmatch(r"done in \d+ s: .*report/default \d+ s", lines[-3])
    assert lines[-2:] == ["  reports/build/tiny/report.html", "  reports/build/tiny/report.pdf"]
    html = (finished / "reports/build/tiny/report.html").read_text()
    assert "90_report" in html and "10_schedules" in html
    config = json.loads((finished / "reports/runs/tiny/report/default/config.json").read_text())
    assert (config["title"], config["about"]) == ("A tiny plan", "It tests the engine.")


@pytest.mark.slow
def test_a_finished_project_that_was_copied_is_up_to_date_in_its_new_place(copy):
    for file in copy.rglob("*"):
        os.utime(file, (1, 1 + len(str(file))))
    done = report(copy, "tiny")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["plan tiny: everything is up to date", "  reports/build/tiny/report.html",
                                        "  reports/build/tiny/report.pdf"]


@pytest.mark.slow
def test_a_change_in_the_real_thing_makes_again_what_it_concerns(copy):
    change(copy / "reports/plans/tiny.yml", "images: 6", "images: 7")
    (copy / "reports/runs/tiny/train/linear/result.json").unlink()
    said = report(copy, "tiny", "--dry-run").stdout.splitlines()
    assert "generate/cosine: images was 6 and is 7" in said and "train/linear: not finished" in said
    done = report(copy, "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(re.findall(r"\] (\S+) done", done.stdout)) == LINEAR | {"generate/cosine", "augment/cosine"}
    assert report(copy, "tiny").stdout.startswith("plan tiny: everything is up to date")


@pytest.mark.slow
@pytest.mark.parametrize("file, old, new, told", [
    ("lib/maths.py", "FACTOR = 2", "FACTOR = 3", "lib.maths.FACTOR"),
    ("notebooks/20_train_ddpm.ipynb", "factor, split", "factor , split", "notebooks/20_train_ddpm.ipynb")])
def test_what_is_saved_while_a_run_is_at_work_makes_it_stale(tmp_path, file, old, new, told):
    project = make_project(tmp_path)
    save = f"import pathlib; file = pathlib.Path({file!r}); file.write_text(file.read_text().replace({old!r}, {new!r}))"
    change(project / "notebooks/20_train_ddpm.ipynb", "import json, os, time", f"import json, os, time; {save}")
    done = report(project, "one")
    assert done.returncode == 1 and f"not up to date: train/one: its code has changed: {told}\n" in done.stderr, done.stderr
    done = report(project, "one")                                            # now it saves what is there
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


@pytest.mark.slow
def test_a_reader_that_goes_away_stops_the_command_without_a_traceback(tmp_path):
    project = make_project(tmp_path)
    process = subprocess.Popen([sys.executable, "-m", "lib", "report", "one"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()                                                   # | head -1
    assert process.wait(60) == 130 and process.stderr.read() == b"\nstopping; the next call goes on from here\n"
    wait_for(lambda: not processes(project), 10)


# ---------------------------------------------------------------- when something goes wrong
@pytest.mark.slow
def test_a_failed_run_is_named_the_others_go_on_and_the_report_shows_the_hole(copy):
    change(copy / "reports/plans/tiny.yml", "lr: 1e-4", "lr: 1e-4, trouble: error")
    change(copy / "reports/plans/tiny.yml", "images: 6", "images: 7")
    done = report(copy, "tiny")
    runs = copy / "reports/runs/tiny"
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert done.stderr.splitlines()[-4:] == [
        "failed: train/linear: ZeroDivisionError: division by zero (see reports/runs/tiny/train/linear/notebook.ipynb)",
        "not made: generate/linear: it reads train/linear",
        "not made: augment/linear: it reads generate/linear",
        "The report shows these runs as missing:"]
    assert done.stdout.splitlines()[-2:] == ["  reports/build/tiny/report.html", "  reports/build/tiny/report.pdf"]
    assert re.findall(r"\] (\S+) done", done.stdout) == ["generate/cosine", "augment/cosine"]
    events = [json.loads(line) for line in (runs / "jobs.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events if e["job"] == "train/linear"] == ["start", "failed"]    # T8: tried once
    executed = json.loads((runs / "train/linear/notebook.ipynb").read_text())                   # T3: it is kept
    assert executed["metadata"]["papermill"]["status"] == "failed"
    config = json.loads((runs / "report/default/config.json").read_text())
    stale = [f"reports/runs/tiny/{job}" for job in ("train/linear", "generate/linear", "augment/linear")]
    assert config["missing"] == stale and not set(stale) & set(config["runs"])                  # T11
    assert (runs / "augment/linear/result.json").exists()                                      # though it lies there
    assert "reports/runs/tiny/ablation/default" in config["runs"]

    change(copy / "reports/plans/tiny.yml", ", trouble: error", "")
    *lines, summary = report(copy, "tiny", "--dry-run").stdout.splitlines()
    why = dict(line.split(": ") for line in lines)
    assert set(why) == LINEAR and summary == "5 of 9 runs would be made"
    assert why["train/linear"] == "not finished" and why["generate/linear"] == "it reads train/linear"
    done = report(copy, "tiny")                                                                 # the first mended call makes them
    assert done.returncode == 0 and set(re.findall(r"\] (\S+) done", done.stdout)) == LINEAR


def start_report(project, *words):
    """Start a report on the plan `one`, whose training goes on while the file `slow` is there; wait until it works."""
    (project / "reports/plans/one.yml").write_text(ONE)
    (project / "slow").touch()
    process = subprocess.Popen([sys.executable, "-m", "lib", "report", "one"], cwd=project, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for((project / "reports/runs/one/train/one/progress.json").exists, 60)
    return process


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s"
        time.sleep(0.1)


@pytest.mark.slow
def test_two_commands_a_stop_and_a_kill_leave_nothing_behind_and_the_next_call_goes_on(tmp_path, heard):
    project = make_project(tmp_path)
    first = start_report(project)
    assert len(processes(project)) >= 4
    second = report(project, "one")
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr == "another command works on the plan one: wait for its end, or stop it\n"

    first.send_signal(signal.SIGHUP)                                         # T9, as of a terminal that is closed
    stdout, stderr = first.communicate(timeout=60)
    assert first.returncode == 130 and stderr == "\nstopping; the next call goes on from here\n"
    assert "[1/2] train/one starts" in stdout and "done" not in stdout
    wait_for(lambda: not processes(project), 10)
    executed = project / "reports/runs/one/train/one/notebook.ipynb"
    assert json.loads(executed.read_text())["metadata"]["papermill"]["status"] == "interrupted"

    (project / "reports/runs/one/train/one/progress.json").unlink()
    killed = start_report(project)
    killed.kill()
    killed.communicate()
    wait_for(lambda: not processes(project), 10)
    assert list((project / "reports/runs/one/.snakemake/locks").iterdir())   # T5

    (project / "slow").unlink()
    done = report(project, "one")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert re.findall(r"\] (\S+) done", done.stdout) == ["train/one", "report/default"]         # T4


@pytest.mark.slow
def test_a_bad_plan_starts_nothing(tmp_path):
    project = make_project(tmp_path)
    change(project / "reports/plans/tiny.yml", "steps: 20", "steps: 2e1")    # T2
    done = report(project, "tiny")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("reports/plans/tiny.yml: train.cosine: steps=20.0 is float, expected a number (int)\n")
    (project / "reports/plans/tiny.yml").write_text(PLAN.replace("steps: 20", "dataset: none"))
    done = report(project, "tiny")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "reports/plans/tiny.yml: train.cosine: dataset='none': expected toy or folder\n"
    assert not list(project.rglob("config.json"))


@pytest.mark.slow
def test_when_the_engine_itself_stops_its_last_words_are_shown(tmp_path):
    project = make_project(tmp_path)
    (project / "reports/Snakefile").write_text("raise OSError('no space left')\n")
    done = report(project, "tiny")
    assert done.returncode == 1 and "no space left" in done.stderr
    assert done.stderr.startswith("Snakemake stopped; the last lines of reports/runs/tiny/snakemake.log:\n")


@pytest.mark.slow
def test_who_knows_snakemake_can_call_it(copy):
    (copy / "reports/runs/tiny/report/default/result.json").unlink()
    done = python(copy, "-m", "snakemake", "--snakefile", "reports/Snakefile", "--profile", "reports/profiles/cpu",
                  "--config", "plan=tiny", "--dry-run")                      # T10: a target would stand before --config
    assert done.returncode == 0 and "output: report/default/result.json" in done.stdout and "output: train/linear" not in done.stdout
