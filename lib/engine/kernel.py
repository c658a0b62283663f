"""One notebook in one kernel: a job of a plan (`run_job`), a step alone (`run_interactive`), a run that is read
(`ensure`)."""
import contextlib
import dataclasses
import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import joblib
import psutil

from lib import ROOT, DamagedError, InputError
from lib.engine import gpus, parameters
from lib.engine.parameters import STEPS
from lib.engine.plan import in_root
from lib.engine.stale import record_of
from lib.processes import kernel_sockets, on_stop
from lib.report import runs

START_SECONDS = 120                                         # how long a kernel may take to answer first
INTERACTIVE = "reports/runs/interactive"


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error of its own, or its kernel was killed. The message is one sentence.

    code: with which the command ends: 1, 3 killed or out of memory, 5 the training diverged.
    """

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def run_step(step, values, out, **options):
    """Run a step's notebook as it is at this moment, with all its parameters `values`; the executed copy goes to `out`.

    The run's record gets the code of this moment, so that a file which is saved later makes the run stale, whether the
    kernel has read it by then or not. options, errors: as in `run_notebook`.
    """
    with tempfile.TemporaryDirectory(prefix=f"nb-{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        notebook = Path(shutil.copy(STEPS[step].file, folder))
        code = runs.write_json(Path(folder) / "code.json", record_of(step, values, notebook))
        with surroundings(folder, DREAMING_CODE=str(code)):
            run_notebook(notebook, out, values, **options)


@contextlib.contextmanager
def surroundings(folder, **others):
    """While inside, kernels start without the user's own settings of IPython, Python and matplotlib, with `others`."""
    style = Path(importlib.util.find_spec("matplotlib").origin).parent / "mpl-data" / "matplotlibrc"
    others |= {"IPYTHONDIR": str(Path(folder) / "ipython"), "MATPLOTLIBRC": str(style)}
    before = {name: os.environ.pop(name, None) for name in (*others, "PYTHONSTARTUP")}
    os.environ.update(others)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def run_notebook(notebook, out, values, skip="skip-execution"):
    """Execute `notebook` with the parameters `values`; the executed copy goes to `out`, also when the notebook fails.

    skip: the tag of cells that are not run, by default nbclient's own.

    Raises InputError where the notebook refused a value, NotebookFailed for its other errors and for a killed kernel.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    logging.getLogger("papermill").setLevel(logging.ERROR)     # it can't read all types; ours did

    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.stem}.tmp.ipynb")
    status, error = "interrupted", None
    with kernel_sockets() as config:
        try:
            with kernel_hears_signals():
                papermill.execute_notebook(
                    *(str(path).replace("{", "{{").replace("}", "}}") for path in (notebook, temporary)),   # no fields
                    values, kernel_name="python3", cwd=str(ROOT), progress_bar=False, coalesce_streams=True,
                    shutdown_kernel="immediate", start_timeout=START_SECONDS, config=config,
                    skip_cells_with_tag=skip)
            status = "completed"
        except PapermillExecutionError as failure:
            lines = (failure.evalue or "").strip().splitlines() or [""]
            if failure.ename == "KeyboardInterrupt":
                error = KeyboardInterrupt(lines[-1])
            else:
                status, error = "failed", told_by_kernel(failure.ename, failure.evalue or "", lines[-1])
        except DeadKernelError:
            status, error = "killed", NotebookFailed("the kernel was killed (out of memory?)", 3)
        except RuntimeError as failure:             # nbclient's only word for it
            if "Kernel didn't respond" not in str(failure):
                raise
            error = NotebookFailed(f"the kernel did not answer within {START_SECONDS} s")
        finally:
            if temporary.exists():
                with contextlib.suppress(ValueError, OSError):  # a full disk; that error is told already
                    mark(temporary, notebook, out, status)
                os.replace(temporary, out)
    if error:
        raise error


def told_by_kernel(name, text, last_line):
    """The exception of this process that stands for the kernel's: its class's name, its words."""
    kinds = {kind.__name__: kind for kind in (InputError, DamagedError)}
    if name in kinds:
        return kinds[name](text)
    memory = name.endswith("MemoryError") or "allocate memory" in text
    return NotebookFailed(f"{name}: {last_line}".rstrip(": "), 3 if memory else 5 if name == "Diverged" else 1)


@contextlib.contextmanager
def kernel_hears_signals():
    """While inside, a signal to stop interrupts the kernel as Jupyter's stop button does, every second until it ends.

    papermill would kill it at once; so a training writes its state first, and what the notebook printed is kept.
    """
    asked, ended = threading.Event(), threading.Event()

    def interrupt():
        while not ended.is_set():
            for kernel in psutil.Process().children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    kernel.send_signal(signal.SIGINT)
            ended.wait(1)

    def stop():
        if not asked.is_set():
            asked.set()
            threading.Thread(target=interrupt, daemon=True).start()

    try:
        with on_stop(stop) if os.name != "nt" else contextlib.nullcontext():
            yield
    finally:
        ended.set()


def mark(file, notebook, out, status):
    """Write into the executed notebook how it ended (papermill says `completed` in every cell of a killed one), and
    take out where on this machine it ran."""
    book = json.loads(without_places(file.read_text(encoding="utf-8")))
    book["metadata"]["papermill"] |= {"input_path": f"notebooks/{Path(notebook).name}", "output_path": in_root(out),
                                      "status": status, "exception": status != "completed"}
    if status in ("killed", "interrupted"):
        cells = [c["metadata"]["papermill"] for c in book["cells"] if c["metadata"].get("papermill")]
        started = [c for c in cells if c["start_time"]]
        for cell in cells:
            cell["status"] = "pending" if cell not in started else cell["status"]
        if started:
            started[-1] |= {"status": status, "exception": True}
    file.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def without_places(text):
    """The JSON text of a notebook without this machine's folders, as they stand in warnings and tracebacks."""
    places = {str(ROOT): "", str(ROOT.parent): "..", os.environ.get("DREAMING_DATA_DIR", ""): "DATA",
              os.environ.get("DREAMING_SYNTHETIC_DIR", ""): "SYNTHETIC",
              sys.prefix: "PYTHON", sys.base_prefix: "PYTHON", tempfile.gettempdir(): "TMP", str(Path.home()): "~"}
    for place in sorted(filter(lambda place: len(place) > 3, places), key=len, reverse=True):
        written = re.escape(json.dumps(place, ensure_ascii=False)[1:-1])
        word = places[place]
        text = re.sub(rf"{written}/" if not word else rf"{written}(?![\w-])", word, text)
    return text


# ---------------------------------------------------------------- alone
def run_interactive(step, values):
    """Run a step's notebook alone, with its defaults and `values`; returns the executed copy."""
    config = parameters.build(STEPS[step].config, parameters.defaults(STEPS[step].file) | values)
    run = runs.run_at(config.run_dir or f"{INTERACTIVE}/{step}/default")
    check_interactive(run, step)
    out = run.path("notebook.ipynb")
    os.environ.setdefault("OMP_NUM_THREADS", str(joblib.cpu_count()))
    run_step(step, dataclasses.asdict(config), out)
    return out


def check_interactive(run, step):
    """InputError where a run that no plan asked for would write into a plan's folder, or another step's."""
    if run.folder.parts[-3:-1] != ("interactive", step):
        raise InputError(f"run_dir={'reports/runs/' + run.name!r}: expected {INTERACTIVE}/{step}/<name>; the other "
                         "folders are those of plans")


def ensure(run_dir):
    """Make sure that the run which a notebook reads is there: an interactive one is made now, with its defaults."""
    run = runs.run_at(run_dir)
    if run.finished:
        return
    plan, step, name = run.folder.parts[-3:]
    if (plan, name) == ("interactive", "default") and step in STEPS:
        print(f"{run_dir} is not there yet: running notebooks/{STEPS[step].notebook}.ipynb with its defaults first")
        run_interactive(step, {})
        return
    command = f"run {step} run_dir={run_dir}" if plan == "interactive" else f"report {plan}"
    raise InputError(f"run {run_dir!r} is not finished: `python3 -m lib {command}` makes it")


# ---------------------------------------------------------------- one node of a plan's graph
def run_job(values, threads=1):
    """Run one job of a plan and tell the front door by lines in the plan's jobs.jsonl. Returns the exit code."""
    run = runs.run_at(values["run_dir"])
    plan, step, name = run.folder.parts[-3:]
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    os.environ["DREAMING_RUN_DIR"] = values["run_dir"]      # for lib.engine.notebook: a plan asks for this run
    start = time.time()

    def tell(event, error="", code=0):
        line = {"job": f"{step}/{name}", "event": event, "seconds": round(time.time() - start, 1), "error": error,
                "code": code}
        with open(ROOT / "reports" / "runs" / plan / "jobs.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    tell("start")
    try:
        with gpus.own(step):
            run_step(step, values, run.path("notebook.ipynb"), skip="explorer")                     # nobody moves them
        if not run.finished:
            raise NotebookFailed("the notebook ended without writing result.json")
        if step == "report":
            build_report(plan, run, values)
    except Exception as error:
        run.path("result.json").unlink(missing_ok=True)
        known = isinstance(error, (InputError, NotebookFailed))
        words = str(error) if known else traceback.format_exc()
        code = 1 if type(error) is InputError else getattr(error, "code", 1)        # 2: nothing was started
        tell("failed", words.strip().splitlines()[-1], code)
        print(f"{step}/{name}: {words}", file=sys.stderr)
        return code
    tell("done")
    return 0


def build_report(plan, run, values):
    """The site reports/build/<plan>: the page and its PDF from the executed article, and the runs that it tells of. The
    report's run keeps what all files hold, so that another page is noticed."""
    from lib.report.collected import collect
    from lib.report.site import write_site
    folder = ROOT / "reports" / "build" / plan
    collected = collect([runs.load(folder, whole=False) for folder in values["runs"]], values["missing"], plan=plan,
                        title=values["title"], about=values["about"])
    write_site(run.path("notebook.ipynb"), collected, folder)
    pages = {file.relative_to(folder).as_posix(): runs.sha256(file)
             for file in sorted(folder.rglob("*")) if file.is_file()}
    runs.write_json(run.path("provenance.json"), run.provenance | {"pages": pages})
