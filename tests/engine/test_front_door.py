"""The commands: what they refuse, what runs again after which change, and how they take failures, kills and Ctrl-C."""
import ast
import functools
import http.server
import json
import os
import pkgutil
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from commands import processes, python
from toy import JOBS, LINEAR, ONE, PLAN, change, make_project

import lib.__main__ as front_door
from lib import ROOT, InputError
from lib.engine import commands, environment, parameters


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
    assert all(f"\n    {command} " in done.stdout for command in ("report", "table", "accept", "test", "lab", "run", "dream", "bench", "publish", "handout", "grade"))
    assert "exit codes: 0 done, 1 a run or test failed" in done.stdout


def test_help_of_a_step_lists_its_parameters_with_types_defaults_and_comments(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in (["run", "generate", "--help"], ["run", "-h", "30_generate"]):
        with pytest.raises(SystemExit) as stop:
            front_door.main(words)
        told = capsys.readouterr().out
        assert stop.value.code == 0
        defaults = parameters.defaults(parameters.STEPS["generate"].file)
        assert all(re.search(rf"(?m)^{name}: .* = .* # \S", told) for name in defaults) and str(defaults["guidance"]) in told
    assert front_door.main(["run", "--help", "nothing"]) == 2 and "notebook 'nothing': expected one of" in capsys.readouterr().err


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
    (["report", "nothing"], "plan 'nothing': expected one of"),
    (["run", "60_more"], "notebook '60_more': expected one of schedules, 10_schedules, train"),
    (["run", "train", "steps"], "'steps': expected NAME=VALUE"),
    (["run", "train", "stepz=3"], "unknown parameter 'stepz', perhaps 'steps'"),
    (["run", "train", "steps=no"], "steps='no' is str, expected a number (int)"),
    (["run", "train", "lr=[1"], "'[1' is no YAML value"),
    (["run", "train", "run_dir=reports/runs/digits/train/linear"], "expected reports/runs/interactive/train/<name>"),
    (["dream", "nothing"], "network 'nothing': expected one of"),
    (["dream", "--per-class", "0"], "--per-class 0: expected 1 to 1,000"),
    (["dream", "--guidance", "nan"], "--guidance nan: expected 0 to 100"),
    (["dream", "--seed", "2147483648"], "--seed 2147483648: expected 0 to 2,147,483,647"),
    (["dream", "--steps", "5000"], "--steps 5000: expected 1 to 1,000"),
    (["dream", "--class-names", "cat"], "usage: python3 -m lib dream"),
    (["dream", "--out", "x.jpg"], "expected a name that ends with .png, .npz or .gif, or a folder"),
    (["dream", "--classes", "fish"], "label 'fish': expected one of"),
    (["report", "smoke", "--only", "augment/nothing", "-n"], "run 'augment/nothing': expected one of schedules/default, train/cosine"),
    (["report", "digits", "--synthetic-dir", "x"], "--synthetic-dir with the plan 'digits': expected own, or a plan with another one"),
    (["table", "nothing"], "plan 'nothing': expected one of"),
    (["bench", "--only", "trian"], "--only trian: expected one of train-32x32, train-8x8, sample-32x32"),
    (["bench", "--rounds", "0"], "--rounds 0: expected 1 or more"),
    (["handout", "nothing"], "notebook 'nothing': expected one of ddpm_by_hand, or the path of a notebook"),
    (["accept", "nothing", "--because", "x"], "plan 'nothing': expected one of"),
    (["accept", "smoke"], "the following arguments are required: --because"),
    (["accept", "smoke", "--because", " "], "--because ' ': expected a reason"),
    (["grade"], "nothing was graded yet: expected students' notebooks"),
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
     "class/name.png; data_dir or --data-dir names it"),
    (["{folder}/fashion.yml"], "{folder}/fashion.yml: train.a: canvas=12: dataset='fashion_mnist' takes no canvas: expected canvas=0; it takes data_dir, size, per_class, "
     "classes")])
def test_a_dry_run_refuses_what_the_call_refuses(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DREAMING_DATA_DIR", "")
    (tmp_path / "fashion.yml").write_text("train: {a: {dataset: fashion_mnist}}\n")
    for dry in ([], ["--dry-run"]):
        assert front_door.main(["report", *(word.format(folder=tmp_path) for word in words), *dry]) == 2
        assert capsys.readouterr().err == sentence.format(folder=tmp_path) + "\n"


def test_called_from_anywhere_paths_count_from_there_and_another_lib_does_no_harm(tmp_path):
    project, here = make_project(tmp_path / "p"), tmp_path / "here"
    (here / "lib").mkdir(parents=True)
    (here / "lib/__init__.py").write_text("raise SystemExit('another lib')")
    (here / "mine.yml").write_text(ONE)

    def call(*argv):
        return subprocess.run([sys.executable, "-c", environment.START, str(project), "report", *argv], cwd=here, capture_output=True, text=True)
    done = call("mine.yml", "-n")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith("2 of 2 runs would be made\n")
    assert call("tiny", "-n").returncode == 0 and call("../p/reports/plans/tiny.yml", "-n").returncode == 0
    assert call("reports/plans/tiny.yml", "-n").stderr.endswith("expected one of one, tiny, or the path of a .yml file\n")


def test_a_package_without_its_repository_says_what_is_missing(tmp_path):
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    done = python(tmp_path, "-m", "lib", "dream")
    assert done.returncode == 2 and done.stderr == (
        f"{tmp_path}/lib is installed without its repository, which holds the notebooks and plans: clone that with git, and call `pip install -e .` in it\n")


def test_the_console_script_calls_the_front_door(monkeypatch, capsys):
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["dreaming-data"]
    monkeypatch.setattr(sys, "argv", ["dreaming-data", "report", "nothing"])
    with pytest.raises(SystemExit) as stop:
        pkgutil.resolve_name(script)()
    assert stop.value.code == 2 and capsys.readouterr().err.startswith("plan 'nothing': expected one of")


@pytest.mark.parametrize("system, name, told", [("linux", "posix", "xdg-open 'a b/report.html'"), ("darwin", "posix", "open 'a b/report.html'"),
                                                ("win32", "nt", 'start "" "a b/report.html"')])
def test_a_report_ends_with_the_command_that_opens_it(monkeypatch, system, name, told):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(commands.os, "name", name)
    assert commands.opens("a b/report.html") == told


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
def wheel(folder, name, version, requires=()):
    """A wheel of an empty package."""
    info, tag = f"{name}-{version}.dist-info", name.replace("-", "_")
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{tag}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{tag}/__init__.py", "")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {r}\n" for r in requires))
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def serve(tmp_path):
    """serve({package: [version, ...]}): the address of an index on this machine that has these packages."""
    servers = []

    def start(packages):
        root = tmp_path / f"index {len(servers)}"
        for name, versions in packages.items():
            for version in versions:
                wheel(root / "simple" / name, name, version)
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=root)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/simple"

    yield start
    for server in servers:
        server.shutdown()


@pytest.fixture
def bare(tmp_path, monkeypatch, serve):
    """A repository without an environment, in a folder of any name, on Linux without a GPU. It needs PyTorch; pip's own index is one of
    this machine, and no setting of the user's counts."""
    root = tmp_path / "a clone #1 {x}"
    (root / "lib").mkdir(parents=True)
    (root / "lib/__init__.py").write_text("")
    (root / "pyproject.toml").write_text('[project]\ndependencies = ["torch"]\noptional-dependencies = {test = ["pytest"], teach = ["nbgrader"]}\n')
    monkeypatch.setattr(environment, "ROOT", root)
    monkeypatch.setattr(environment, "ENV", root / ".venv")
    monkeypatch.setattr(environment, "has_nvidia", lambda: False)
    monkeypatch.setattr(environment, "own_index", lambda: "")
    monkeypatch.setattr(environment, "CPU_WHEELS", serve({"torch": ["2.9.0+cpu"]}))
    monkeypatch.setattr(sys, "platform", "linux")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", serve({"torch": ["2.9.0"], "pytest": ["8.0"], "nbgrader": ["0.9"]}))
    return root


def packages(root):
    """{package: version} in the environment of a repository, without what every one has."""
    found = [p.name.removesuffix(".dist-info").split("-") for p in root.glob(".venv/lib/python*/site-packages/*.dist-info")]
    return {name: version for name, version in found if name not in ("pip", "setuptools")}


@pytest.mark.slow
def test_a_machine_without_a_gpu_gets_the_cpu_wheels_and_a_command_its_extra_with_its_first_call(bare, monkeypatch, capsys):
    python = environment.make()
    assert packages(bare) == {"torch": "2.9.0+cpu"}
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Making the environment .venv") and said[-1] == "PyTorch 2.9.0+cpu: the CPU wheels."
    monkeypatch.setattr(environment, "why_unreachable", None)               # PyTorch is there: nobody is asked again
    environment.make("teach")
    environment.make("test")
    assert packages(bare) == {"torch": "2.9.0+cpu", "pytest": "8.0", "nbgrader": "0.9"}
    monkeypatch.setattr(subprocess, "Popen", None)                          # pip is not started again
    assert environment.make() == environment.make("test") == environment.make("teach") == python


@pytest.mark.parametrize("why", ["refused", "silent", "empty"])
def test_an_index_of_cpu_wheels_that_gives_no_answer_is_told_and_not_used(bare, monkeypatch, capsys, serve, why):
    with socket.socket() as silent:                                         # it takes connections, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(environment, "PATIENCE", 1)
        monkeypatch.setattr(environment, "CPU_WHEELS", {"refused": "http://127.0.0.1:1/simple", "empty": serve({}),
                                                        "silent": f"http://127.0.0.1:{silent.getsockname()[1]}/simple"}[why])
        assert environment.cpu_index("") == ""
    said = capsys.readouterr().out
    assert said.startswith(f"{environment.CPU_WHEELS} gives no answer (") and "PyTorch comes from PyPI" in said


@pytest.mark.slow
def test_cpu_wheels_that_break_off_are_replaced_by_those_of_pypi(bare, monkeypatch, capsys, serve, tmp_path):
    monkeypatch.setattr(environment, "CPU_WHEELS", serve({"torch": ["2.9.0+cpu"]}))
    (broken,) = tmp_path.glob("index 2/simple/torch/*.whl")
    broken.write_bytes(broken.read_bytes()[:100])
    environment.make()
    said = capsys.readouterr().out
    assert packages(bare) == {"torch": "2.9.0"} and "pip could not use http://127.0.0.1" in said
    assert said.splitlines()[-1] == "PyTorch 2.9.0: the wheels of pip's index."


@pytest.mark.parametrize("change", [{"has_nvidia": lambda: True}, {"own_index": lambda: "global.index-url"}])
def test_cpu_wheels_are_not_asked_for_with_a_gpu_or_with_an_index_of_the_users(bare, monkeypatch, change):
    monkeypatch.setattr(environment, "why_unreachable", lambda address: pytest.fail("asked"))
    for name, value in change.items():
        monkeypatch.setattr(environment, name, value)
    assert environment.cpu_index("") == "" == environment.cpu_index("slurm")


@pytest.mark.parametrize("variables, config, told", [
    ({}, "", ""), ({}, "[install]\nextra-index-url = http://x\n", "install.extra-index-url"),
    ({}, "[global]\ntimeout = 60\nfind-links = /wheels\n", "global.find-links"), ({"PIP_INDEX_URL": "http://x"}, "", "PIP_INDEX_URL"),
    ({"PIP_EXTRA_INDEX_URL": "http://x"}, "", "PIP_EXTRA_INDEX_URL")])
def test_an_index_of_the_users_is_found_in_pips_files_and_in_the_environment(monkeypatch, tmp_path, variables, config, told):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "pip.conf").write_text(config)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf") if config else os.devnull)
    assert environment.own_index() == told


@pytest.mark.slow
def test_the_environment_is_made_once_and_an_interrupted_set_up_goes_on(bare, monkeypatch, capsys):
    monkeypatch.setattr(environment, "cpu_index", lambda extra: "")
    (bare / "pyproject.toml").write_text('[project]\ndependencies = ["torch>=5"]\noptional-dependencies = {}\n')
    with pytest.raises(InputError, match="pip could not install the packages"):
        environment.make()
    assert not (bare / ".venv/stamp").exists() and not (bare / ".venv/downloads").exists()
    (bare / "pyproject.toml").write_text('[project]\ndependencies = ["torch"]\noptional-dependencies = {}\n')
    python = environment.make()
    prefix = subprocess.check_output([python, "-c", "import sys; print(sys.prefix)"], text=True)
    assert prefix.strip() == str(bare / ".venv")
    found = subprocess.check_output([python, "-E", "-c", "import lib; print(lib.__file__)"], text=True, cwd=bare.parent)
    assert found.strip() == str(bare / "lib/__init__.py")
    monkeypatch.setattr(subprocess, "Popen", None)              # pip is not asked again
    assert environment.make() == python
    said = capsys.readouterr().out
    assert said.count("Making the environment") == said.count("Bringing the environment .venv up to date") == 1
    (bare / "pyproject.toml").write_text('[project]\ndependencies = ["torch", "x"]\noptional-dependencies = {}\n')
    with pytest.raises(TypeError):                              # other packages: pip is asked
        environment.make()


@pytest.mark.parametrize("cpu, free, told", [("", 7, r"^7\.0 GB are free .* 8 GB are expected"), ("http://x", 2, r"^2\.0 GB are free .* 3 GB are expected")])
def test_a_full_disk_is_told_before_anything_is_made(bare, monkeypatch, cpu, free, told):
    monkeypatch.setattr(environment, "cpu_index", lambda extra: cpu)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, free * 10**9))
    with pytest.raises(InputError, match=told):
        environment.make()
    assert not (bare / ".venv").exists()


def test_a_long_download_moves_a_line(tmp_path, monkeypatch, capsys):
    progress, now = environment.Progress(tmp_path), [0.0]
    monkeypatch.setattr(environment.time, "monotonic", lambda: now[0])
    progress.start = 0
    for seconds, line, size in ((0, "Collecting torch>=2.6 (from x)\n", 0), (16, "  Downloading https://host/torch-2.9.0%2Bcpu-cp311-cp311-linux_x86_64.whl (175.5 MB)\n", 5),
                                (20, "", 60), (75, "", 120), (95, "Installing collected packages: a, b, torch\n", 120)):
        now[0] = seconds
        (tmp_path / "part").write_bytes(bytes(size * 10**6))
        progress.hear(line)
        progress.show()
    assert capsys.readouterr().out.splitlines() == [
        "  0:00 looking for torch>=2.6", "  0:16 downloading torch 2.9.0+cpu (175.5 MB), 5 MB so far",
        "  1:15 downloading torch 2.9.0+cpu (175.5 MB), 120 MB so far", "  1:35 installing 3 packages, 120 MB so far"]


def test_a_python_without_ensurepip_is_told_the_package(bare, monkeypatch):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="install the package python3-venv"):
        environment.make()
    assert not (bare / ".venv").exists()


def test_an_active_environment_without_the_packages_is_told_the_cure(bare, monkeypatch):
    monkeypatch.setattr(environment, "requirements", lambda: {"": ["numpy>=1.26"], "test": ["no-such_package[all]>=2; python_version > '3'"]})
    monkeypatch.setattr(sys, "prefix", "/somewhere")
    monkeypatch.setattr(environment, "come_first", lambda: None)
    environment.enter([])
    with pytest.raises(InputError, match="environment /somewhere lacks no-such_package: run `python -m pip install -e '.*\\[test\\]'`"):
        environment.enter([], "test")


def test_our_own_environment_that_is_active_gets_what_it_lacks(bare, monkeypatch):
    made = []
    monkeypatch.setattr(environment, "make", made.append)
    monkeypatch.setattr(environment, "lacking", lambda extra: ["nbgrader"])
    monkeypatch.setattr(environment, "come_first", lambda: None)
    monkeypatch.setattr(environment, "is_active", lambda: True)
    monkeypatch.setattr(sys, "prefix", str(bare / ".venv"))
    with pytest.raises(InputError, match="lacks nbgrader"):                 # a .venv that the user made
        environment.enter([], "teach")
    (bare / ".venv").mkdir()
    (bare / ".venv/stamp").write_text('{"": "x"}')
    environment.enter([], "teach")
    assert made == ["teach"]


def test_the_extras_are_those_of_the_project_and_known_by_packages_that_they_bring():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(environment.requirements()) == {"", *project["optional-dependencies"]}
    assert all(not environment.lacking(extra) for extra in environment.requirements())
    assert set(commands.EXTRAS.values()) <= set(environment.requirements())
    assert [commands.read(argv).extra for argv in (["report"], ["report", "--profile", "slurm"], ["report", "--profile", "cpu"], ["test"], ["grade", "x"])] == [
        "", "slurm", "", "test", "teach"]


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
    assert re.fullmatch(r"done in \d+ s: .*report/default \d+ s", lines[-4])
    assert lines[-3:-1] == ["  reports/build/tiny/report.html", "  reports/build/tiny/report.pdf"]
    assert lines[-1].split()[-1] == "reports/build/tiny/report.html"
    html = (finished / "reports/build/tiny/report.html").read_text()
    assert "90_report" in html
    config = json.loads((finished / "reports/runs/tiny/report/default/config.json").read_text())
    assert (config["title"], config["about"]) == ("A tiny plan", "It tests the engine.")


@pytest.mark.slow
def test_a_finished_project_that_was_copied_is_up_to_date_in_its_new_place(copy):
    for file in copy.rglob("*"):
        os.utime(file, (1, 1 + len(str(file))))
    done = report(copy, "tiny")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["plan tiny: everything is up to date", "  reports/build/tiny/report.html",
                                        "  reports/build/tiny/report.pdf", commands.opens("reports/build/tiny/report.html")]


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
