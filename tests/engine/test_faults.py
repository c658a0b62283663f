"""The faults of tests/faults.md that no other file injects."""
import contextlib
import getpass
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import types

import pytest
from commands import call, own_environment, python
from commands import processes as working
from test_front_door import change, report, wait_for
from toy import ONE, make_project

from lib import ROOT, DamagedError, InputError, processes
from lib.engine import commands, environment, gpus, kernel, make
from lib.engine import plan as plans
from lib.report import runs

can_mount = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only Linux's root can mount a small disk")


# ---------------------------------------------------------------- exit codes
@pytest.mark.slow
@pytest.mark.parametrize("trouble, code, words", [
    ("error", 1, "ZeroDivisionError: division by zero"), ("refused", 1, "steps=10: expected more"),
    ("killed", 3, "the kernel was killed (out of memory?)"), ("memory", 3, "MemoryError"),
    ("damaged", 4, "data/x.bin: damaged"), ("diverged", 5, "Diverged: loss is nan by step 3")])
def test_the_exit_code_tells_the_kind_of_the_failure(project, capsys, trouble, code, words):
    job = plans.read_plan("tiny").job("train", "linear")
    job.folder.mkdir(parents=True)
    assert kernel.run_job(job.values | {"trouble": trouble}) == code
    event = json.loads((project / "reports/runs/tiny/jobs.jsonl").read_text().splitlines()[-1])
    assert (event["event"], event["code"]) == ("failed", code) and event["error"].startswith(words)
    assert job.notebook.exists() and not (job.folder / "result.json").exists()


@pytest.mark.parametrize("failed, code", [({"train/linear": 3}, 3), ({"train/linear": 5, "train/cosine": 5}, 5),
                                          ({"train/linear": 3, "train/cosine": 4}, 1)])
def test_a_report_ends_with_the_code_of_its_failed_runs(project, monkeypatch, failed, code):
    failed = {label: ("words", number) for label, number in failed.items()}
    monkeypatch.setattr(make, "partial_report", lambda plan, failed, left: set())
    assert make.explain(plans.read_plan("tiny"), failed, dict.fromkeys(failed, "not finished"), 1) == code


def test_a_damaged_data_set_ends_the_command_with_4_before_anything_starts(project, monkeypatch):
    def damaged(config):
        raise DamagedError("cifar-10-batches-py is damaged")
    monkeypatch.setattr("lib.data.check", damaged)
    with pytest.raises(DamagedError, match="^reports/plans/tiny.yml: train.cosine: cifar-10-batches-py is damaged$") as error:
        plans.check_data(plans.read_plan("tiny"), ["train/cosine"])
    assert error.value.code == 4


@pytest.mark.slow
def test_a_command_whose_run_is_killed_ends_with_3(tmp_path):
    project = make_project(tmp_path)
    (project / "reports/plans/one.yml").write_text("train: {one: {trouble: killed}}\nschedules: {}\nablation: {}\n")
    done = report(project, "one")
    assert done.returncode == 3 and "failed: train/one: the kernel was killed (out of memory?)" in done.stderr


# ---------------------------------------------------------------- kernels
def sleeping_kernel(folder):
    """A folder for JUPYTER_PATH whose kernel python3 only sleeps."""
    spec = folder / "kernels/python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-c", "import time; time.sleep(1000)", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    return folder


@pytest.mark.slow
def test_a_kernel_that_never_answers_is_told(project, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("JUPYTER_PATH", str(sleeping_kernel(tmp_path_factory.mktemp("jupyter"))))
    monkeypatch.setattr(kernel, "START_SECONDS", 3)
    with pytest.raises(kernel.NotebookFailed, match="^the kernel did not answer within 3 s$"):
        kernel.run_notebook(project / "notebooks/10_schedules.ipynb", project / "out.ipynb", {})
    wait_for(lambda: not [p for p in working(project) if "time.sleep(1000)" in " ".join(p.cmdline())], 10)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has TCP only")
def test_kernels_that_start_at_once_share_no_port(project):
    book = json.loads((project / "notebooks/10_schedules.ipynb").read_text())
    book["cells"][-1]["source"] = "import ipykernel; print(ipykernel.get_connection_info())"
    (project / "notebooks/10_schedules.ipynb").write_text(json.dumps(book))
    kernel.run_notebook(project / "notebooks/10_schedules.ipynb", project / "out.ipynb", {})
    told = json.loads((project / "out.ipynb").read_text())["cells"][-1]["outputs"][0]["text"]
    assert '"transport": "ipc"' in "".join(told)


@pytest.mark.slow
def test_a_value_whose_type_papermill_cannot_read_is_taken_without_a_word(project, caplog):
    book = json.loads((project / "notebooks/10_schedules.ipynb").read_text())
    book["cells"][0]["source"] = "sizes: int | list[int] = 3       # a number, or one of each class"
    book["cells"] = [book["cells"][0], book["cells"][-1] | {"source": "print(sizes)"}]
    (project / "notebooks/10_schedules.ipynb").write_text(json.dumps(book))
    kernel.run_notebook(project / "notebooks/10_schedules.ipynb", project / "out.ipynb", {"sizes": [4, 5]})
    told = json.loads((project / "out.ipynb").read_text())["cells"][-1]["outputs"][0]["text"]
    assert "".join(told) == "[4, 5]\n" and not caplog.records


SETTINGS = {  # of a user: what would reach a run
    "home/.ipython/profile_default/startup/00.py": "told = ['startup']",
    "home/.ipython/profile_default/ipython_config.py": "c = get_config()\nc.InteractiveShellApp.exec_lines = ['lines = 1']\n"
                                                       "c.InteractiveShell.ast_node_interactivity = 'all'\n",
    "home/startup.py": "python = 1",
    "home/.config/matplotlib/matplotlibrc": "text.usetex: True\naxes.facecolor: black\n",
    "dark": "text.usetex: True\naxes.facecolor: black\n"}


@pytest.mark.slow
def test_no_setting_of_the_user_reaches_a_run(project, monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    for name, text in SETTINGS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name, value in {"HOME": "home", "PYTHONSTARTUP": "home/startup.py", "MATPLOTLIBRC": "dark"}.items():
        monkeypatch.setenv(name, str(folder / value))
    monkeypatch.delenv("IPYTHONDIR", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    change(project / "notebooks/20_train_ddpm.ipynb", "import json, os, time",
           "import json, os, time, matplotlib\\nmatplotlib.rcParams['axes.facecolor']\\n"
           "print({'told', 'lines', 'python'} & set(globals()), matplotlib.rcParams['axes.facecolor'])")
    environment_before = dict(os.environ)
    out = kernel.run_interactive("train", {})
    assert os.environ == environment_before | {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]}
    outputs = [o for c in json.loads(out.read_text())["cells"] for o in c.get("outputs", [])]
    assert ["".join(o["text"]) for o in outputs if "text" in o][0] == "set() white\n" and not [o for o in outputs if o["output_type"] == "execute_result"]


def test_figures_are_readable_whatever_style_the_user_has(tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\naxes.facecolor: black\ntext.color: white\nfont.size: 40\n")
    code = ("import matplotlib; kept = dict(matplotlib.rcParams)\nfrom lib.report import figures\n"
            "print([matplotlib.rcParams[n] for n in ('text.usetex', 'axes.facecolor', 'text.color', 'font.size')], kept['font.size'])")
    done = python(ROOT, "-c", code, env=os.environ | {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")})
    assert done.stdout == "[False, 'white', 'black', 10.5] 40.0\n", done.stderr


# ---------------------------------------------------------------- disks
@pytest.fixture
def disk(tmp_path):
    """disk(options): mount a small disk on a project's reports/runs."""
    mounted = []

    def mount(folder, options):
        folder.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
            pytest.skip("this machine mounts no tmpfs")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@can_mount
@pytest.mark.slow
def test_a_disk_that_fills_in_the_middle_is_told_and_the_next_call_goes_on(tmp_path, disk):
    project = make_project(tmp_path / "p")
    disk(project / "reports/runs", "size=4m")
    (project / "reports/plans/one.yml").write_text("train: {one: {}}\ngenerate: {one: {train_run: one}}\nschedules: {}\nablation: {}\n")
    book = project / "notebooks/30_generate.ipynb"
    change(book, "print('work is done')", "(run.folder / 'model').write_bytes(bytes(8 * 10**6))")
    done = report(project, "one")
    assert done.returncode == 1 and "OSError: [Errno 28] No space left on device" in done.stderr, done.stderr
    assert (project / "reports/runs/one/train/one/result.json").exists()                       # what was finished stays
    subprocess.run(["mount", "-o", "remount,size=64m", project / "reports/runs"], check=True)
    done = report(project, "one")
    assert done.returncode == 0 and re.findall(r"\] (\S+) done", done.stdout) == ["generate/one", "report/default"], done.stderr


@can_mount
@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_told_before_anything_starts(tmp_path, disk):
    project = make_project(tmp_path / "p")
    disk(project / "reports/runs", "ro")
    done = report(project, "tiny")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"{project}/reports/runs/tiny: expected a folder that can be written (Read-only file system)\n")


# ---------------------------------------------------------------- places and languages
@pytest.mark.slow
@pytest.mark.parametrize("name", ["Kurs #1", "C: x", "a {b}"])
def test_no_letter_of_the_path_means_anything(tmp_path, name):
    if os.name == "nt" and ":" in name:
        pytest.skip("Windows has no such folders")
    project = make_project(tmp_path / name)
    own_environment(project)
    outside = tmp_path / name / ".." / "mine.yml"
    outside.write_text(f"title: Mine\nabout: It lies elsewhere.\n{ONE}")
    done = report(project, str(outside.resolve()))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    config = json.loads((project / "reports/runs/mine/report/default/config.json").read_text())
    assert (config["title"], config["about"]) == ("Mine", "It lies elsewhere.")
    told = [p for folder in ("build", "runs") for p in (project / "reports" / folder / "mine").rglob("*")
            if p.suffix in (".html", ".pdf", ".ipynb", ".csv") or p.name in ("config.json", "provenance.json", "result.json")]
    assert len(told) >= 8 and not [p for p in told if str(tmp_path).encode() in p.read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["p", "C: x"])
def test_another_lib_another_kernel_and_a_home_that_cannot_be_written_do_no_harm(tmp_path, name):
    if os.name == "nt" and ":" in name:
        pytest.skip("Windows has no such folders")
    project, other = make_project(tmp_path / name), tmp_path / "other"
    (other / "lib").mkdir(parents=True)
    (other / "lib/__init__.py").write_text("raise SystemExit('the lib of another clone')")
    env = os.environ | {"PYTHONPATH": str(other), "JUPYTER_PATH": str(sleeping_kernel(tmp_path)), "HOME": os.devnull}
    done = python(project, "-m", "lib", "report", "one", env=env)
    assert done.returncode == 0 and done.stderr.startswith(f"nothing can be written in the home {os.devnull} (") and done.stderr.count("\n") == 1, done.stderr


@can_mount
@pytest.mark.slow
def test_a_home_without_space_is_told_and_a_run_and_a_report_are_made_all_the_same(tmp_path, disk):
    project, home = make_project(tmp_path / "p"), tmp_path / "home"
    disk(home, "size=64k")
    with contextlib.suppress(OSError):
        (home / "full").write_bytes(bytes(2**17))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "IPYTHON", "MPL"))} | {"HOME": str(home)}
    for command in (["run", "schedules"], ["report", "one"]):
        done = python(project, "-m", "lib", *command, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == (f"nothing can be written in the home {home} (No space left on device): caches and settings of other "
                               "packages go to reports/build/.home\n")
    assert [p.name for p in home.iterdir()] == ["full"]


def test_where_neither_home_nor_project_has_room_one_sentence_names_both(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "why_not_written", lambda folder: "Disk quota exceeded")
    with pytest.raises(InputError, match=rf"^nothing can be written in the home .* \(Disk quota exceeded\), nor in {tmp_path}/reports/build "):
        environment.move_home()


def test_data_in_the_cache_of_a_full_home_are_still_found(monkeypatch, tmp_path):
    (tmp_path / "home/.cache/dreaming-data").mkdir(parents=True)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "why_not_written", lambda folder: "full" if folder.name == "home" else "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DREAMING_DATA_DIR", "")                     # so that monkeypatch removes what is set below
    monkeypatch.delenv("DREAMING_DATA_DIR")
    environment.move_home()
    assert os.environ["DREAMING_DATA_DIR"] == str(tmp_path / "home/.cache/dreaming-data")
    assert os.environ["HOME"] == str(tmp_path / "reports/build/.home")


def test_no_environment_is_made_in_a_path_that_python_cannot_take(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "ROOT", tmp_path / f"C{os.pathsep} x")
    monkeypatch.setattr(environment, "ENV", environment.ROOT / ".venv")
    with pytest.raises(InputError, match="expected a folder without ':', as Python makes no environment in it"):
        environment.make()


def test_two_plans_of_one_name_do_not_take_each_others_runs(project, tmp_path_factory):
    files = [tmp_path_factory.mktemp(name) / "mine.yml" for name in ("a", "b")]
    for file in files:
        file.write_text(ONE)
    one, two = (plans.read_plan(str(file)) for file in files)
    one.folder.mkdir(parents=True)
    make.check_owner(one)
    make.check_owner(one)
    with pytest.raises(InputError, match="^plan 'mine': reports/runs/mine holds the runs of .*/mine.yml: rename one of the two files$"):
        make.check_owner(two)
    files[0].unlink()                                               # it has moved
    make.check_owner(two)


@pytest.mark.slow
def test_umlauts_and_spaces_in_the_path_and_an_old_locale_do_no_harm(tmp_path):
    project = make_project(tmp_path / "Prüfung 1 – ä")
    (project / "reports/plans/one.yml").write_text("title: Für große Ohren\ntrain: {one: {}}\nschedules: {}\nablation: {}\n",
                                                   encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if not k.startswith("LC_")} | {
        "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "TZ": "Pacific/Kiritimati"}
    done = python(project, "-m", "lib", "report", "one", env=env)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert (project / "reports/build/one/report.html").exists()


# ---------------------------------------------------------------- two at once
HOLDER = "import sys, time; from pathlib import Path; from lib.report import runs; runs.hold(runs.Run(Path(sys.argv[1]))); print(1, flush=True); time.sleep(60)"


def test_two_processes_never_work_in_one_run_folder_and_a_killed_one_leaves_it_free(tmp_path):
    run = runs.Run(tmp_path / "plan/train/one")
    run.folder.mkdir(parents=True)
    other = subprocess.Popen([sys.executable, "-c", HOLDER, run.folder], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"1\n"
        with pytest.raises(InputError, match=rf"run 'plan/train/one': process {other.pid} on {socket.gethostname()} works on it: wait"):
            runs.hold(run)
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    runs.hold(run)
    runs.hold(run)                                                  # the same notebook, run again in its kernel
    runs.held.pop(run.folder).release()


WAITS = "import os; from lib.engine import gpus\nwith gpus.own('train'): print(os.environ['CUDA_VISIBLE_DEVICES'])"


def pretend_gpus(folder, number):
    """A PATH with an nvidia-smi that tells of so many GPUs."""
    (folder / "nvidia-smi").write_text("#!/bin/sh\n" + "".join(f"echo 'GPU {i}: none (UUID: {i})'\n" for i in range(number)))
    (folder / "nvidia-smi").chmod(0o755)
    return {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"} | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the pretended nvidia-smi is a shell script")
def test_two_gpus_serve_two_runs_at_a_time_and_none_is_shared(tmp_path):
    project = make_project(tmp_path / "p")
    (project / "reports/plans/one.yml").write_text("train: {a: {}, b: {}, c: {}}\nschedules: {}\nablation: {}\n")
    change(project / "lib/engine/make.py", '["--cores", str(cpu_count())]', '["--cores", "8"]')
    (project / "slow").touch()
    process = subprocess.Popen([sys.executable, "-m", "lib", "report", "one"], cwd=project, env=pretend_gpus(tmp_path, 2),
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    folder = project / "reports/runs/one/train"
    try:
        wait_for(lambda: len(list(folder.glob("*/gpu"))) == 2 or process.poll() is not None, 60)
        time.sleep(2)
        assert sorted(p.read_text() for p in folder.glob("*/gpu")) == ["0", "1"]
    finally:
        (project / "slow").unlink()
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert {p.read_text() for p in folder.glob("*/gpu")} == {"0", "1"} and len(list(folder.glob("*/gpu"))) == 3


def test_a_run_waits_for_a_gpu_and_gives_it_back(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("DREAMING_GPUS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with gpus.own("train"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
        other = subprocess.Popen([sys.executable, "-c", WAITS], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                                 env=os.environ | {"TMPDIR": str(tmp_path)})
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(4)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"
    assert other.communicate(timeout=30)[0] == "3\n"
    with gpus.own("report"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


@pytest.mark.parametrize("value, names", [("", []), ("-1", []), ("0,-1,1", ["0"]), ("3,5", ["3", "5"])])
def test_the_gpus_are_those_that_cuda_would_see(monkeypatch, value, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    gpus.names.cache_clear()
    assert gpus.names() == names
    gpus.names.cache_clear()


def test_a_machine_without_gpus_has_no_profile_for_them(monkeypatch):
    monkeypatch.setattr(gpus, "names", lambda: [])
    with pytest.raises(InputError, match="^profile 'gpu': expected a machine with a GPU"):
        make.find_profile("gpu")


# ---------------------------------------------------------------- signals and what processes leave
def test_a_signal_that_was_ignored_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)                   # as nohup does
    try:
        with processes.stop_asked() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not asked.is_set()
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked.wait(5)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_sockets_of_killed_kernels_are_removed_and_a_long_folder_is_no_obstacle(monkeypatch, tmp_path):
    monkeypatch.setattr(processes.tempfile, "gettempdir", lambda: str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for number in (ended.pid, os.getpid()):
        (tmp_path / f"nb-{number}-x").mkdir()
    with processes.kernel_sockets() as config:
        assert len(config.KernelManager.ip) < 100
    assert [p.name for p in tmp_path.iterdir()] == [f"nb-{os.getpid()}-x"] or len(str(tmp_path)) > processes.LONGEST_SOCKET
    monkeypatch.setattr(processes.tempfile, "gettempdir", lambda: "/tmp/" + "x" * 100)
    with processes.kernel_sockets() as config:
        assert len(config.KernelManager.ip) < 100


# ---------------------------------------------------------------- what a report tells of its author
@pytest.mark.parametrize("code", [0, 1])
def test_jupyterlab_keeps_its_own_safeguards_takes_its_options_and_says_that_it_did_not_start(monkeypatch, capsys, heard, tmp_path, code):
    asked = []
    ended = types.SimpleNamespace(wait=lambda: code, terminate=lambda: None)
    monkeypatch.setattr(commands.subprocess, "Popen", lambda words: asked.extend(words) or ended)
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "")
    assert commands.lab(commands.read(["lab", "--port", "8890", "--allow-root"])) == code
    assert asked == [sys.executable, "-m", "jupyterlab", "--LabApp.default_url=/lab/tree/mine/00_start.ipynb",
                     "--port", "8890", "--allow-root"]              # nothing about addresses and tokens: loopback, a token
    assert capsys.readouterr().err.startswith("JupyterLab stopped with exit code 1 and says why above" * code)


@pytest.mark.slow
@pytest.mark.smoke
def test_no_result_names_a_person_a_machine_or_a_folder_of_it(report, root):
    words = {str(root), str(root.parent), os.path.expanduser("~") + "/", socket.gethostname() + "."}
    words |= {getpass.getuser()} if len(getpass.getuser()) > 4 else set()
    for file in [p for folder in ("runs/smoke", "build/smoke") for p in (root / "reports" / folder).rglob("*")]:
        if file.is_file() and file.suffix in (".ipynb", ".json", ".html", ".csv") and ".snakemake" not in file.parts:
            text = file.read_text(encoding="utf-8")
            assert not [word for word in words if word in text], file


@pytest.mark.slow
def test_the_same_run_gives_the_same_bits_in_another_process(report, root):
    first = report[1] / "train/linear"
    given = {k: v for k, v in json.loads((first / "config.json").read_text()).items() if k != "run_dir"}
    words = [f"{k}={json.dumps(v)}" for k, v in given.items()]
    done = call(root, "run", "train", *words, "run_dir=reports/runs/interactive/train/again")
    assert done.returncode == 0, done.stderr
    files = [json.loads((folder / "provenance.json").read_text())["files"] for folder in (first, root / "reports/runs/interactive/train/again")]
    assert files[0]["model.safetensors"] == files[1]["model.safetensors"]
