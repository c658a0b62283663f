"""Run folders: the only module that knows which files a run writes.

    reports/runs/<plan>/<step>/<name>/
      config.json      the complete parameters, written before any work
      provenance.json  commit, code {definition: hash}, versions, device, threads, what was read of upstream runs; at
                       the end the sha256 of each file that the run wrote; later why a change of code was accepted
      progress.json    how far the long cell is
      history.csv      one row per logging interval
      figures/*.png    with alt text and caption in figures.json
      tables/*.csv     the result's tables
      result.json      the typed result (lib.report.results); written last: its presence means that the run is finished

A run folder lies in reports/runs and nowhere else, and only a folder of a run is cleared for another.
"""
import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from lib import ROOT, DamagedError, InputError
from lib.report import results
from lib.study.generators import CHANCE

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "papermill", "nbconvert", "snakemake")


# ---------------------------------------------------------------- small files, never torn
def write_atomic(path, content):
    """Write text or bytes to `path` by way of a temporary file, so that a reader never sees half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    os.replace(temporary, path)
    return path


def write_json(path, value):
    return write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- one run
@dataclasses.dataclass(frozen=True)
class Run:
    """A folder with a run's files. `folder` is absolute; `name` is <plan>/<step>/<name>."""

    folder: Path

    @property
    def name(self):
        return "/".join(self.folder.parts[-3:])

    @property
    def step(self):
        return self.folder.parent.name

    @property
    def label(self):
        return self.folder.name

    @property
    def config(self):
        return read_json(self.folder / "config.json")

    @property
    def provenance(self):
        return read_json(self.folder / "provenance.json")

    @property
    def result(self):
        """The typed result. DamagedError where result.json was changed, or is of another version."""
        file = self.folder / "result.json"
        return results.loads(file.read_text(encoding="utf-8"), f"run {self.name!r}: result.json")

    @property
    def began(self):
        """Time of the start (seconds of the epoch), earlier by the work of the calls that were interrupted."""
        made = self.provenance
        return datetime.datetime.fromisoformat(made["start"]).timestamp() - made["earlier_seconds"]

    @property
    def finished(self):
        return (self.folder / "result.json").exists()

    @property
    def history(self):
        return pd.read_csv(self.folder / "history.csv")

    def path(self, file):
        return self.folder / file

    # ---- writing, in the order in which a notebook does it
    def save_history(self, records):
        write_atomic(self.folder / "history.csv", pd.DataFrame(records).to_csv(index=False))

    def save_arrays(self, file, **arrays):
        """Save NumPy arrays or tensors as one .npz in the run folder."""
        temporary = self.folder / f".{os.getpid()}.{file}"
        np.savez_compressed(temporary, **{k: np.asarray(v) for k, v in arrays.items()})
        os.replace(temporary, self.folder / file)

    def figure(self, fig, name, alt, caption, links=None, vector=False, switch=None):
        """Show `fig` here and keep it as figures/<name>.png with its alt text and Markdown caption.

        links: {"notebook", "data"}, files of the report's folder that have its numbers. vector: the page gets it as SVG
        too. switch: what a page lets its reader choose (see drawings.Drawn).
        """
        from lib.report.figures import to_png
        from lib.report.svg import draw
        if vector:
            write_atomic(self.path(f"figures/{name}.svg"), draw(fig, name))
        write_atomic(self.path(f"figures/{name}.png"), to_png(fig))
        index = self.path("figures/figures.json")
        write_json(index, (read_json(index) if index.exists() else {}) | {name: {"alt": alt, "caption": caption}})
        self.show_figure(name, links=links, switch=switch)

    def show_figure(self, name, caption="", links=None, switch=None):
        """Display figures/<name>.png with its alt text and `caption`, by default its own."""
        from lib.report.figures import show_png
        kept, svg = read_json(self.path("figures/figures.json"))[name], self.path(f"figures/{name}.svg")
        show_png(self.path(f"figures/{name}.png").read_bytes(), kept["alt"], caption or kept["caption"], name=name,
                 links=links, svg=svg.read_text(encoding="utf-8") if svg.exists() else "", switch=switch)

    def track(self, records, total, unit="steps", about=""):
        """Pass `records` (mappings with a key `done`) on; show one progress line and keep it in progress.json.

        about: how the line begins. Several loops of one notebook cell share its line.
        """
        line, began = line_of_cell(), self.began

        def tell(state):
            words, seconds = about + progress_line(state), round(time.time() - began, 1)
            write_json(self.folder / "progress.json", state | {"line": words, "seconds": seconds})
            line.show(words)

        yield from progress(records, total, unit, tell)

    def finish(self, result):
        """Write the tables of `result`, one of lib.report.results, and result.json, last and whole; remove the states.
        NaN is refused."""
        text = results.dumps(result)
        for name, table in results.tables(result).items():
            write_atomic(self.path(f"tables/{name}.csv"), table.to_csv())
        seconds = round(time.time() - self.began, 1)
        write_json(self.folder / "provenance.json", self.provenance | {
            "seconds": seconds, "files": {name: sha256(self.path(name)) for name in self.written()}})
        (self.folder / "progress.json").unlink(missing_ok=True)
        write_atomic(self.folder / "result.json", text)
        for state in self.folder.glob("state-*.safetensors"):
            state.unlink()
        if lock := held.pop(self.folder, None):
            self.path(".owner").unlink(missing_ok=True)
            lock.release()                                  # its empty file stays: who waits for it may hold it open
        print(f"finished in {seconds:.0f} s: {self.name}")

    def written(self):
        """Names of the files that the run itself wrote: history, products, figures and tables; no training states."""
        found = [p for pattern in ("history.csv", "*.npz", "*.safetensors", "figures/*", "tables/*")
                 for p in self.folder.glob(pattern) if not p.name.startswith(".") and "state" not in p.name]
        inside = [p for p in found if p.is_file() and p.resolve().is_relative_to(self.folder.resolve())]
        return sorted(p.relative_to(self.folder).as_posix() for p in inside)


def progress(records, total, unit, tell):
    """Pass `records` (mappings with a key `done`) on; after one at most each second, and the last, tell(state).

    state: done, total, unit, and where known loss, images_per_second and seconds_left.
    """
    start, last = None, 0.0
    for record in records:
        yield record
        now = time.monotonic()
        start = start or now
        if now - start < 1:                                 # a resumed training first repeats its earlier records
            first = now, record["done"]
        if now - last < 1 and record["done"] < total:
            continue
        last, rate = now, (record["done"] - first[1]) / max(now - first[0], 1e-9)
        left = (total - record["done"]) / rate if rate else math.nan
        state = {"done": record["done"], "total": total, "unit": unit} | {
            k: float(f"{record[k]:.4g}") for k in ("loss", "images_per_second") if k in record}
        if math.isfinite(left):
            state["seconds_left"] = round(left, 1)
        tell(state)


def progress_line(state):
    """The words of a progress.json: '412/1200 steps, 340 images/s, loss 0.0312, 21 s left'."""
    parts = [f"{state['done']:,}/{state['total']:,} {state['unit']}"]
    if "images_per_second" in state:
        parts.append(f"{state['images_per_second']:,.0f} images/s")
    if "loss" in state:
        parts.append(f"loss {state['loss']:.4f}")
    if "seconds_left" in state:
        left = state["seconds_left"]
        parts.append(f"{left:.0f} s left" if left < 120 else f"{left / 60:.0f} min left")
    return ", ".join(parts)


class Line:
    """One line in a notebook that is written again and again: one output, not hundreds."""

    handle = None

    def show(self, text):
        from IPython.display import display
        if self.handle is None:
            self.handle = display({"text/plain": text}, raw=True, display_id=True, metadata={"progress": True})
        else:
            self.handle.update({"text/plain": text}, raw=True, metadata={"progress": True})


lines = {}          # {the execution count of a notebook cell: its Line}


def line_of_cell():
    """The Line of the notebook cell that runs; outside of a notebook a new one."""
    from IPython import get_ipython
    shell = get_ipython()
    return lines.setdefault(shell.execution_count, Line()) if shell else Line()


# ---------------------------------------------------------------- start, load, compare
def start(step, config, upstream=(), code=None):
    """Open the run folder of `config` ("" is the interactive run of `step`): write config.json and provenance.json.

    What an earlier run left there is removed, but for its states (state-*.safetensors): an interrupted training or
    study goes on from them. code: {definition: hash} of the code that can change the result. InputError where another
    process works in that folder, where it is no run folder, and where it holds files that no run wrote.
    """
    run, code = run_at(config.run_dir or f"reports/runs/interactive/{step}/default"), code or {}
    if run.folder.exists():
        check_ours(run)
    run.folder.mkdir(parents=True, exist_ok=True)
    hold(run)
    before = interrupted(run, config, code)
    for old in ("result.json", "progress.json", *run.written()):
        run.path(old).unlink(missing_ok=True)
    # first: where the disk is full now, the folder must be known as a run's by the next call
    write_json(run.path("provenance.json"), provenance(upstream) | {"code": code, "earlier_seconds": before})
    write_json(run.path("config.json"), dataclasses.asdict(config))
    return run


def interrupted(run, config, code):
    """Seconds that this very run worked before it was interrupted, if it goes on from a state."""
    try:
        same = run.provenance["code"] == code and run.config == json.loads(json.dumps(dataclasses.asdict(config)))
        return read_json(run.path("progress.json"))["seconds"] if same and any(run.folder.glob("state-*")) else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def check_ours(run):
    """InputError unless the folder is a run's: it has our provenance.json, or our lock where that is cut or gone, or
    nothing but an executed notebook."""
    try:
        ours = run.path(".lock").exists() or {"start", "commit", "versions"} <= set(run.provenance)
    except (OSError, ValueError, TypeError):
        ours = False
    others = [p.name for p in run.folder.iterdir() if not p.name.startswith(".") and p.name != "notebook.ipynb"]
    if not ours and others:
        raise InputError(f"run {run.name!r}: its folder holds files that no run wrote ({others[0]!r}): expected a new "
                         "folder, an empty one, or one of a run")


held = {}       # folder: the lock of a run that this process works on; the system releases it when the process ends


def hold(run):
    """Keep other processes from the run's folder until it is finished. InputError, naming the process that has it."""
    if run.folder in held:                                  # its notebook is run again in the same kernel
        return
    lock, owner = FileLock(str(run.path(".lock"))), run.path(".owner")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        words = owner.read_text() if owner.exists() else "another process"
        raise InputError(f"run {run.name!r}: {words} works on it: wait for its end, or stop it (in JupyterLab: shut "
                         "down its kernel)") from None
    owner.write_text(f"process {os.getpid()} on {platform.node()}")
    held[run.folder] = lock


# ---------------------------------------------------------------- replicates
def families(runs):
    """{name: [runs]}: replicates together by the name that their plan gives them, any other run alone by its label.

    Replicates are called NAME.0, NAME.1, ... and differ in seeds and folders alone, as do the runs that they came from
    (`source`, where they know it). A name's dot alone says nothing: guidance-1.5 is no replicate.
    """
    alike = {}
    for run in runs:
        alike.setdefault((run.label.rpartition(".")[0] or run.label, setting(run)), []).append(run)
    return {name if len(same) > 1 else same[0].label: same for (name, _), same in alike.items()}


def setting(run):
    """What makes a run but for its seeds and folders, as text."""
    own = {k: v for k, v in run.config.items() if k not in CHANCE}
    return json.dumps(own, sort_keys=True) + (setting(source) if (source := getattr(run, "source", None)) else "")


def config_hash(config):
    """Twelve letters that stand for the parameters that can change a result (not for the place where it is kept)."""
    values = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("run_dir", "device")}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def provenance(upstream=()):
    """Where and with what a run is made: commit, versions, device, threads, start, what it read of upstream runs."""
    import torch
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({processor()})"
    return {
        "start": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **commit(),
        "words": last_commit("reports/articles", "reports/template", "notebooks/90_report.ipynb", "lib/report"),
        "python": platform.python_version(),
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES if found(p)},
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "threads": torch.get_num_threads(),
        "upstream": {run.name: content(run.folder) for run in upstream},
    }


def processor():
    """The processor's name and the vector instructions that torch takes of it: other ones sum in another order."""
    import torch
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def content(folder):
    """What tells a finished run from another one: the sha256 of its result and of its files; None if there is none."""
    try:
        return {"result": sha256(folder / "result.json"), "files": read_json(folder / "provenance.json")["files"]}
    except (OSError, ValueError, KeyError):
        return None


def commit():
    """{commit, uncommitted_changes} of the code; both "unknown" where git can't vouch for it: no git, a downloaded ZIP,
    a repository of somebody else. The user's own settings of git hide no file."""
    places = ("--", "lib", "notebooks", "reports", ":(exclude)reports/published")
    top = git("rev-parse", "--show-toplevel")
    changed = git("-c", "core.fsmonitor=false", "status", "--porcelain", "--untracked-files=no", *places)
    new = git("ls-files", "--others", "--exclude-per-directory=.gitignore", *places)
    if not top or Path(top).resolve() != ROOT.resolve() or changed is None or new is None:
        return {"commit": "unknown", "uncommitted_changes": "unknown"}
    return {"commit": git("rev-parse", "--short=12", "HEAD") or "unknown", "uncommitted_changes": bool(changed + new)}


def last_commit(*paths):
    """The short name of the last commit that changed `paths`, with + where they hold changes that no commit has;
    "unknown" where git can't vouch for it."""
    if commit()["commit"] == "unknown":
        return "unknown"
    name = git("log", "-1", "--format=%h", "--abbrev=12", "--", *paths)
    changes = git("status", "--porcelain", "--", *paths)
    return (name or "unknown") + "+" * bool(changes)


def git(*words):
    """What git prints about the project, None where it can't answer."""
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    env = {name: value for name, value in os.environ.items() if name not in others}
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def found(package):
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def run_at(run_dir):
    """The run in the folder `run_dir` (reports/runs/<plan>/<step>/<name>, from the repository), finished or not; or a
    published one, in reports/published.

    InputError for a folder elsewhere, wherever links on its way lead.
    """
    folder = Path(os.path.normpath(ROOT / run_dir))
    for parent in ("runs", "published"):
        top = ROOT / "reports" / parent
        if folder.resolve().is_relative_to(top.resolve()) and len(folder.parts) == len(top.parts) + 3:
            return Run(folder)
    raise InputError(f"run_dir={str(run_dir)[:200]!r}: expected reports/runs/<plan>/<step>/<name>")


def learned_from(generation):
    """The run whose real images a generation's run is about: its training, or itself for images from elsewhere."""
    return load(generation.config["train_run"]) if "train_run" in generation.config else generation


LARGE = ("images.npz",)         # files that a finished run may lack where nobody is going to read them


def load(run_dir, whole=True):
    """The finished run in `run_dir`. InputError where there is none, DamagedError where a file of it was changed.

    whole=False: its LARGE files may be gone.
    """
    run = run_at(run_dir)
    if not run.finished:
        raise InputError(f"run {run.name!r}: expected a finished run, but its folder has no result.json")
    run.result                                              # noqa: B018 (reading it checks it)
    for file, digest in run.provenance.get("files", {}).items():
        if not whole and file in LARGE and not run.path(file).exists():
            continue
        if not run.path(file).exists() or sha256(run.path(file)) != digest:
            raise DamagedError(f"run {run.name!r}: {file} is missing or damaged (its sha256 differs from the one that "
                             "the run wrote); delete the run's result.json and make it again")
    return run
