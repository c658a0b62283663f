"""Commands in a copy of the project, each with a limit: one that hangs tells where, instead of holding up the tests."""
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

MADE = {".git", ".venv", "runs", "build", "__pycache__", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"}


def project_files(root):
    """The files of a checkout, without what git ignores, sorted; found by name where this is no checkout."""
    done = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=root, capture_output=True, text=True)
    names = {name for name in done.stdout.split("\0") if name} if done.returncode == 0 else {
        name.as_posix() for p in root.rglob("*") if not MADE & set((name := p.relative_to(root)).parts) and ".egg-info" not in str(name)}
    return sorted(name for name in names if (root / name).is_file())


def processes(folder):
    """Those that work in the folder: the front door, Snakemake, the run, its kernel."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            pass
    return found


def own_environment(folder):
    """Give the folder a .venv, so that Python's path holds the folder's name: this environment by another path."""
    if os.name != "nt" and sys.prefix != sys.base_prefix:
        (folder / ".venv").symlink_to(sys.prefix)


def python_of(folder):
    """The Python of the folder's own .venv, or this one."""
    own = Path(folder) / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def python(folder, *words, seconds=300, env=os.environ):
    """Run `python WORDS` in the folder, with its own .venv if it has one; the finished process with its output."""
    process = subprocess.Popen([python_of(folder), *words], cwd=folder, env={**env, "PYTHONFAULTHANDLER": "1"}, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{words} took more than {seconds} s\n" + abort(process, folder)) from None
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def call(root, *words):
    """`python -m lib WORDS` in a copy of the project, without the data of this machine and its ledger of openings."""
    env = {k: v for k, v in os.environ.items() if k != "DREAMING_DATA_DIR"}
    env |= {"PYTHONPATH": str(root), "XDG_CACHE_HOME": str(Path(root).parent / "cache")}
    return python(root, "-m", "lib", *words, seconds=900, env=env)


def abort(process, folder):
    """End what works in the folder; what it printed, where its threads stood, and the ends of its logs."""
    table = [f"{p.pid} {p.status()} {p.cpu_times().user:.0f} s {' '.join(p.cmdline())[-150:]}" for p in processes(folder)]
    for one in sorted(processes(folder), key=lambda p: -p.create_time()):     # the kernels first
        with contextlib.suppress(psutil.Error):                              # it ended with the one before
            if "python" in one.name():
                one.send_signal(signal.SIGABRT)                              # faulthandler prints the stacks
                time.sleep(0.5)
    process.kill()
    out, err = process.communicate(timeout=20)
    logs = [f"--- {p}\n{p.read_text(errors='replace')[-6000:]}"
            for pattern in ("snakemake.log", "jobs.jsonl", "progress.json") for p in Path(folder).rglob(pattern)]
    return "\n".join([*table, "--- stdout", out, "--- stderr", err[-6000:], *logs])
