"""A plan: a YAML file that names the runs of a report. Read and checked here, and each run's notebook executed here.

`read_plan` turns reports/plans/<name>.yml into jobs, all checked before the first one starts; reports/Snakefile turns
the jobs into a graph; `run_job` is one node of it. `ensure` lets a notebook that is opened alone make the run it reads.
"""
import ast
import contextlib
import dataclasses
import difflib
import getpass
import hashlib
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import joblib
import psutil
import yaml

from lib import ROOT, DamagedError, InputError
from lib.engine import parameters
from lib.engine.parameters import STEPS

RUNS = "reports/runs"
SET_BY_PLAN = ("run_dir", "runs", "missing", "plan")        # parameters that a plan's author doesn't write
READS = {"train_run": "train", "generate_runs": "generate"}     # parameter: whose run(s)
COMPARED = ("train", "generate", "augment", "dose")         # the steps that an ablation compares
NAME, NAME_WORDS = r"[A-Za-z0-9][A-Za-z0-9_.-]*", "letters, digits and . _ - (it names a folder)"
START_SECONDS = 120         # how long a kernel may take to answer first
GPU_STEPS = ("train", "generate", "augment", "dose")
IN_REPORT = ("schedules", "report")                         # the steps whose notebooks the report shows


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error of its own, or its kernel was killed. The message is one sentence.

    code: with which the command ends: 1, 3 killed or out of memory, 5 the training diverged.
    """

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


# ---------------------------------------------------------------- YAML 1.2
class Loader(yaml.SafeLoader):
    """YAML 1.2's core schema: 1e-4 is a number, `no` and `on` are text, 010 is ten; a key given twice is an error.

    And YAML 1.1's merge key: `<<: *name` takes over the values of another mapping.
    """

    yaml_implicit_resolvers = {}

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.value[i][0].start_mark)
        return node


def yaml_int(loader, node):
    text = loader.construct_scalar(node)
    return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))


for tag, pattern, first in [
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
        ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
         list("-+.0123456789")),
        ("merge", "<<", ["<"])]:
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), first)
Loader.add_constructor("tag:yaml.org,2002:int", yaml_int)


def parse_value(text):
    """The value of `NAME=VALUE` on the command line, read as YAML 1.2; nothing at all is an empty text."""
    try:
        return yaml.load(text, Loader) if text else ""
    except yaml.YAMLError as error:
        raise InputError(f"{text!r} is no YAML value: {getattr(error, 'problem', error)}") from None


# ---------------------------------------------------------------- plan -> jobs
@dataclasses.dataclass(frozen=True)
class Job:
    """One run of one step: its checked parameters, and the jobs whose results it reads."""

    step: str
    name: str
    config: parameters.Config
    upstream: tuple

    @property
    def label(self):
        return f"{self.step}/{self.name}"

    @property
    def values(self):
        return dataclasses.asdict(self.config)

    @property
    def folder(self):
        return ROOT / self.config.run_dir

    @property
    def gpus(self):
        return gpus_of(self.step, self.values)

    @property
    def notebook(self):
        """The executed copy."""
        return self.folder / "notebook.ipynb"


def gpus_of(step, values):
    """How many GPUs a run takes, where there are any."""
    return int(step in GPU_STEPS)


@dataclasses.dataclass(frozen=True)
class Plan:
    name: str
    file: Path
    title: str
    about: str
    minutes: str
    jobs: list

    @property
    def folder(self):
        return ROOT / RUNS / self.name

    @property
    def html(self):
        return ROOT / "reports" / "build" / self.name / "report.html"

    @property
    def pdf(self):
        return self.html.with_suffix(".pdf")

    def job(self, step, name):
        return next(j for j in self.jobs if (j.step, j.name) == (step, name))

    def of(self, *steps):
        return [j for j in self.jobs if j.step in steps]

    def threads(self, cores):
        """Threads for each job, so that as many trainings as possible stand side by side."""
        return max(1, cores // min(max(1, len(self.of("train"))), cores))


def find_plan(plan):
    """The file of a plan, given by name or as a path to a .yml file."""
    folder = ROOT / "reports" / "plans"
    names = sorted(p.stem for p in folder.glob("*.yml"))
    if plan in names:
        return folder / f"{plan}.yml"
    path = Path(plan).absolute()
    if path.suffix != ".yml" or not path.is_file():
        raise InputError(f"plan {plan!r}: expected one of {', '.join(names) or '(none)'}, or the path of a .yml file")
    if not re.fullmatch(NAME, path.stem):
        raise InputError(f"plan {plan!r}: expected a file name of {NAME_WORDS}")
    if path.stem == "interactive" or (path.stem in names and path != folder / f"{path.stem}.yml"):
        raise InputError(f"plan {plan!r}: another plan has the name {path.stem!r}, and so its runs; rename the file")
    return path


def in_root(path):
    """`path` as the user knows it: relative to the repository where it lies inside."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def read_plan(plan):
    """Read the plan and check every parameter of every run. InputError names file, step, run and parameter."""
    path = find_plan(plan)
    file = in_root(path)
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{file}: {line}{getattr(error, 'problem', error)}") from None
    words = {"title": path.stem, "about": "", "minutes": ""}
    check_names(file, tree, [*words, "common", *STEPS])
    for word in words:
        words[word] = tree.get(word, words[word])
        if not isinstance(words[word], str):
            raise InputError(f"{file}: {word}={words[word]!r}: expected text")
    defaults = {step: parameters.defaults(ROOT / "notebooks" / f"{s.notebook}.ipynb") for step, s in STEPS.items()}
    common = tree.get("common") or {}
    check_names(f"{file}: common", common, sorted({n for d in defaults.values() for n in d} - {*SET_BY_PLAN, *READS}))
    if not tree.get("train"):
        raise InputError(f"{file}: train: expected at least one run, for example {{linear: {{schedule: linear}}}}")

    jobs = []
    for step in STEPS:
        runs = tree.get(step, {} if step in COMPARED else {"default": {}})
        check_names(f"{file}: {step}", runs, ["default"] if step == "report" else None)
        if step == "report" and not runs:
            raise InputError(f"{file}: report: expected one run named default, or no such line")
        for name, given in runs.items():
            try:
                jobs.append(make_job(path, step, name, given or {}, common, defaults[step], jobs))
            except InputError as error:
                raise InputError(f"{file}: {step}.{name}: {error}") from None
    return Plan(path.stem, path, jobs=jobs, **words)


def check_names(where, mapping, accepted=None):
    """Raise InputError unless `mapping` has only the accepted names (None: any that can name a folder)."""
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: expected lines of the form name: value, not {mapping!r}")
    for name in mapping:
        if accepted is None:
            if not (isinstance(name, str) and re.fullmatch(NAME, name)):
                raise InputError(f"{where}: the run name {name!r}: expected text of {NAME_WORDS}")
        elif name not in accepted:
            near = difflib.get_close_matches(str(name), accepted, 1)
            raise InputError(f"{where}: unknown name {name!r}{f', perhaps {near[0]!r}' if near else ''}; "
                             f"accepted are {', '.join(accepted)}")


def make_job(path, step, name, given, common, defaults, jobs):
    """The job of one run: its values over the common ones over the notebook's defaults. `jobs`: those before it."""
    if not isinstance(given, dict):
        raise InputError(f"expected lines of the form parameter: value, not {given!r}")
    if taken := [parameter for parameter in SET_BY_PLAN if parameter in given]:
        raise InputError(f"{taken[0]} is set by the plan itself; remove the line")
    upstream = [j for j in jobs if step == "report" or j.step in COMPARED] if "runs" in defaults else []
    by_plan = {"run_dir": f"{RUNS}/{path.stem}/{step}/{name}", "runs": [j.config.run_dir for j in upstream],
               "missing": [], "plan": path.stem if path.parent == ROOT / "reports" / "plans" else in_root(path)}
    for parameter, source in READS.items():
        if parameter in defaults:
            known, named = {j.name: j for j in jobs if j.step == source}, given.get(parameter)
            several = isinstance(defaults[parameter], list)
            names = named if several and isinstance(named, list) else [named]
            if not names or not all(isinstance(name, str) and name in known for name in names):
                what = "a list of names of runs" if several else "the name of a run"
                raise InputError(f"{parameter}={named!r}: expected {what} of the step {source}: {', '.join(known)}")
            read = [known[name] for name in names]
            upstream += read
            by_plan[parameter] = [j.config.run_dir for j in read] if several else read[0].config.run_dir
    values = defaults | {k: v for k, v in common.items() if k in defaults} | given
    values |= {k: v for k, v in by_plan.items() if k in defaults}
    if values.get("dataset") == "folder" and not values["data_dir"]:       # a run of another folder is another run
        values["data_dir"] = os.environ.get("DREAMING_DATA_DIR", "")
    return Job(step, name, parameters.build(STEPS[step].config, values), tuple(upstream))


# ---------------------------------------------------------------- what is up to date
def is_current(job):
    """Whether the run is finished, with exactly these parameters, and not older than the runs that it reads.

    A failed run's old downstream results still lie on the disk: this is what keeps them out of a report.
    """
    try:
        config = json.loads((job.folder / "config.json").read_text(encoding="utf-8"))
        finished = (job.folder / "result.json").stat().st_mtime
    except (OSError, ValueError):
        return False
    return config == job.values and all(
        is_current(u) and (u.folder / "result.json").stat().st_mtime <= finished for u in job.upstream)


def why(job, again):
    """In words, why the run is to be made (again). again: labels of all that are to be made."""
    def few(words):
        return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")

    try:
        before = json.loads((job.folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "not made yet"
    if not (job.folder / "result.json").exists():
        return "not finished"
    if changed := [f"{name} was {before.get(name)!r} and is {value!r}" for name, value in job.values.items()
                   if before.get(name) != value]:
        return few(changed)
    if reads := [u.label for u in job.upstream if u.label in again]:
        return f"it reads {few(reads)}"
    return "its page, words or code have changed" if job.step == "report" else "its code has changed"


def code_hash(step):
    """Hash of what can change a step's results besides its parameters: its code cells and the lib modules they import.

    Saved outputs, comments, docstrings, explorers and the parameters cell (its values are compared) don't count, nor do
    the modules that only check parameters and start notebooks. Pictures don't count where hours of work would be lost:
    a finished training keeps its old figures. Prose counts in the notebooks that the report shows.
    """
    skipped = {"lib.engine.parameters", "lib.engine.plan"} | ({"lib.report.figures"} if step in COMPARED else set())
    cells = json.loads((ROOT / "notebooks" / f"{STEPS[step].notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    cells = [(c["cell_type"], "".join(c["source"])) for c in cells
             if not {"parameters", "explorer"} & set(c["metadata"].get("tags", []))]
    source = "\n".join(text for kind, text in cells if kind == "code")
    source = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
    code, todo = {}, [(STEPS[step].notebook, source)]
    if step == "report":
        todo += [(m, module_file(m).read_text(encoding="utf-8")) for m in ("lib.report.page", "lib.report.pdf")]
    while todo:
        name, source = todo.pop()
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            raise InputError(f"{name}: {error.msg}: {error.text}") from None
        code[name] = ast.unparse(without_docstrings(tree))
        todo += [(m, module_file(m).read_text(encoding="utf-8")) for m in imported(tree)
                 if m not in code and m not in skipped and module_file(m).exists()]
    if step in IN_REPORT:
        code["prose"] = [text for kind, text in cells if kind == "markdown"]
    digest = hashlib.sha256(json.dumps(code, sort_keys=True).encode())
    if step == "report":
        folder = ROOT / "reports"
        for file in sorted(folder.glob("template/**/*")):
            digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()[:16]


def module_file(name):
    """The file of a module or package in lib."""
    path = ROOT / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(tree):
    """The names in lib that the code imports: `import lib.a`, `from lib import a, b`, `from .a import f`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, ["lib" if node.level else "", node.module]))
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    names |= {".".join(parts[:k]) for parts in (n.split(".") for n in names) for k in range(1, len(parts))}
    return {n for n in names if n.split(".")[0] == "lib"}


def without_docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def check_data(plan):
    """Load each data set of the trainings to come once, before hours of work: InputError where one can't be had."""
    from lib import data
    names = ("dataset", "data_dir", "size", "canvas", "per_class", "data_seed")
    jobs = [job for job in plan.of("train") if not is_current(job)]
    for job in {tuple(getattr(job.config, name, None) for name in names): job for job in jobs}.values():
        try:
            data.check(job.config)
        except InputError as error:
            raise type(error)(f"{in_root(plan.file)}: train.{job.name}: {error}") from None


# ---------------------------------------------------------------- running notebooks
def run_notebook(notebook, out, values):
    """Execute `notebook` with the parameters `values`; the executed copy goes to `out`, also when the notebook fails.

    Raises InputError where the notebook refused a value, NotebookFailed for its other errors and for a killed kernel.
    """
    # jsonschema would compile a grammar of web addresses at its import, 2.4 s that no notebook needs.
    sys.modules.setdefault("rfc3987_syntax", None)
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.stem}.tmp.ipynb")
    status, error = "interrupted", None
    with tempfile.TemporaryDirectory(prefix="nb-") as sockets:
        # Over TCP two kernels that start at once can take the same port (papermill #511); Windows has no other way.
        config = Config() if os.name == "nt" else Config(
            {"KernelManager": {"transport": "ipc", "ip": os.path.join(sockets, "k")}})
        try:
            with kernel_hears_signals():
                papermill.execute_notebook(
                    str(notebook), str(temporary), values, kernel_name="python3", cwd=str(ROOT), progress_bar=False,
                    coalesce_streams=True, shutdown_kernel="immediate", start_timeout=START_SECONDS, config=config)
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
    """While inside, Ctrl-C and SIGTERM interrupt the kernel as Jupyter's stop button does, every second until it ends.

    papermill would kill it at once; so a training writes its state first, and what the notebook printed is kept.
    """
    ended, before = threading.Event(), {}

    def interrupt():
        while not ended.is_set():
            for kernel in psutil.Process().children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    kernel.send_signal(signal.SIGINT)
            ended.wait(1)

    def on_signal(number, frame):
        for n in before:
            signal.signal(n, signal.SIG_IGN)
        threading.Thread(target=interrupt, daemon=True).start()

    if os.name != "nt" and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, on_signal) or signal.SIG_DFL
    try:
        yield
    finally:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def mark(file, notebook, out, status):
    """Write into the executed notebook how it ended: papermill says `completed` in every cell of a killed one."""
    book = json.loads(file.read_text(encoding="utf-8"))
    book["metadata"]["papermill"] |= {"input_path": in_root(Path(notebook)), "output_path": in_root(out),
                                      "status": status, "exception": status != "completed"}
    if status in ("killed", "interrupted"):
        cells = [c["metadata"]["papermill"] for c in book["cells"] if c["metadata"].get("papermill")]
        started = [c for c in cells if c["start_time"]]
        for cell in cells:
            cell["status"] = "pending" if cell not in started else cell["status"]
        if started:
            started[-1] |= {"status": status, "exception": True}
    file.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def run_interactive(step, values):
    """Run a step's notebook alone, with its defaults and `values`; returns the executed copy."""
    notebook = ROOT / "notebooks" / f"{STEPS[step].notebook}.ipynb"
    config = parameters.build(STEPS[step].config, parameters.defaults(notebook) | values)
    out = ROOT / (config.run_dir or f"{RUNS}/interactive/{step}/default") / "notebook.ipynb"
    os.environ.setdefault("OMP_NUM_THREADS", str(joblib.cpu_count()))
    run_notebook(notebook, out, values)
    return out


def ensure(run_dir):
    """Make sure that the run which a notebook reads is there: an interactive one is made now, with its defaults."""
    folder = ROOT / run_dir
    if (folder / "result.json").exists():
        return
    plan, step, name = ([""] * 3 + list(Path(run_dir).parts))[-3:]
    if (plan, name) == ("interactive", "default") and step in STEPS:
        print(f"{run_dir} is not there yet: running notebooks/{STEPS[step].notebook}.ipynb with its defaults first")
        run_interactive(step, {})
        return
    command = f"run {step} run_dir={run_dir}" if plan == "interactive" else f"report {plan}"
    raise InputError(f"run {run_dir!r} is not finished: `python3 -m lib {command}` makes it")


# ---------------------------------------------------------------- one node of the graph
@contextlib.contextmanager
def own_gpus(count):
    """While inside, `count` GPUs are this run's alone: CUDA_VISIBLE_DEVICES names them. Waits until they are free.

    $DREAMING_GPUS names those to take from (the front door sets it; on a cluster, which hands them out itself, it is
    not set and nothing happens). A lock that a killed run held is free at once.
    """
    names = [name for name in os.environ.get("DREAMING_GPUS", "").split(",") if name]
    if not (names and count):
        yield
        return
    from filelock import FileLock, Timeout
    folder = Path(tempfile.gettempdir()) / f"dreaming-data-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    taken = {}
    while len(taken) < count:
        for name in names:
            with contextlib.suppress(Timeout):
                if len(taken) < count:
                    lock = FileLock(str(folder / name))
                    lock.acquire(timeout=0)
                    taken[name] = lock
        if len(taken) < count:                      # all or none: two runs must not wait for each other
            for lock in taken.values():
                lock.release()
            taken = {}
            time.sleep(0.5)
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
    try:
        yield
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES") if before is None else os.environ.update(CUDA_VISIBLE_DEVICES=before)
        for lock in taken.values():
            lock.release()


def run_job(values, threads=1, title=None):
    """Run one job of a plan and tell the front door by lines in the plan's jobs.jsonl. Returns the exit code."""
    plan, step, name = Path(values["run_dir"]).parts[-3:]
    folder = ROOT / values["run_dir"]
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    start = time.time()

    def tell(event, error="", code=0):
        line = {"job": f"{step}/{name}", "event": event, "seconds": round(time.time() - start, 1), "error": error,
                "code": code}
        with open(ROOT / RUNS / plan / "jobs.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    tell("start")
    try:
        with own_gpus(gpus_of(step, values)):
            run_notebook(ROOT / "notebooks" / f"{STEPS[step].notebook}.ipynb", folder / "notebook.ipynb", values)
        if not (folder / "result.json").exists():
            raise NotebookFailed("the notebook ended without writing result.json")
        if step == "report":
            build_report(plan, folder / "notebook.ipynb", values["runs"], title)
    except Exception as error:
        (folder / "result.json").unlink(missing_ok=True)
        known = isinstance(error, (InputError, NotebookFailed))
        words = str(error) if known else traceback.format_exc()
        code = 1 if type(error) is InputError else getattr(error, "code", 1)        # 2: nothing was started
        tell("failed", words.strip().splitlines()[-1], code)
        print(f"{step}/{name}: {words}", file=sys.stderr)
        return code
    tell("done")
    return 0


def end_with_front_door():
    """In Snakemake's process: end it and its runs when the front door that started it is gone (killed, say)."""
    front_door = os.environ.get("DREAMING_FRONT_DOOR")
    if front_door is None or os.name == "nt":
        return

    def watch():
        while os.getppid() == int(front_door):
            time.sleep(1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def build_report(plan, article, runs, title):
    """reports/build/<plan>/report.html and .pdf from the executed article and schedule notebooks."""
    from lib.report.page import write_html
    from lib.report.pdf import write_pdf
    html = ROOT / "reports" / "build" / plan / "report.html"
    html.parent.mkdir(parents=True, exist_ok=True)
    schedules = [ROOT / run / "notebook.ipynb" for run in runs if Path(run).parts[-2] == "schedules"]
    write_html([article, *schedules], html, title=title)
    write_pdf(html, html.with_suffix(".pdf"))


def partial_report(plan, failed):
    """Report on a plan in which the jobs `failed` (labels): from the runs that are current, the others as missing.

    Returns whether there is a report. The next call makes it again: the missing runs will be newer.
    """
    usable = {job.label for job in plan.jobs if is_current(job)}
    for job in plan.of("ablation", "report"):
        if job.label in usable or job.label in failed:
            continue
        values = job.values | {"runs": [u.config.run_dir for u in job.upstream if u.label in usable]}
        if "missing" in values:
            values["missing"] = [u.config.run_dir for u in job.upstream if u.label not in usable]
        if run_job(values, joblib.cpu_count(), plan.title) == 0:
            usable.add(job.label)
    return "report/default" in usable
