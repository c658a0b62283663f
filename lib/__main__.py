"""The front door: `python3 -m lib COMMAND`, from the repository's root; HELP tells the commands.

Outside of an environment the first call makes .venv; so this file uses the standard library alone until the command's
own function, and no syntax that an old Python 3 could not read: it is to say in one sentence what is needed.
"""
import argparse
import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

if not __package__:
    print("call this as `python3 -m lib`, from the repository's root", file=sys.stderr)
    sys.exit(2)

from lib import ROOT, InputError  # noqa: E402

OLDEST = (3, 11)
ENV = ROOT / ".venv"
STACK = ("torch", "torchvision", "numpy", "pandas", "sklearn", "matplotlib", "seaborn", "papermill", "ipykernel",
         "jupyterlab", "snakemake", "nbconvert", "yaml", "filelock", "pytest")

HELP = """\
python3 -m lib COMMAND ..., from the repository's root. Does a diffusion model's synthetic data help a classifier?

commands
  report [PLAN]   run the notebooks of a plan and assemble the report: what is made already is not made again.
                  PLAN is one of {plans}, or the path of a .yml file; without it: digits (minutes on a
                  laptop, no download). Writes reports/build/PLAN/report.html and .pdf, and reports/runs/PLAN/.
      --data-dir DIR   where data sets lie or are downloaded to (else DREAMING_DATA_DIR, else the user's cache)
      --profile NAME   where it runs: cpu, gpu (that of this machine), slurm, or a folder with a config.yaml
      -n, --dry-run    only tell which runs would be made, and why (seconds)
  test [...]      run the tests, a few minutes; what follows is passed on to pytest. Writes only temporary files.
  lab             open JupyterLab on notebooks/10_schedules.ipynb; interactive runs write reports/runs/interactive/.
  run NOTEBOOK [NAME=VALUE ...]
                  run one notebook, named by file (20_train_ddpm) or step (train), with its defaults but for the given
                  values; seconds to minutes. Writes reports/runs/interactive/STEP/ with the executed copy.
  dream [NAME]    generate images with a published network, named by its plan, or with a run's model.safetensors,
                  without data and training. Writes reports/build/dreams/NAME.png, a row for each class, and .npz.
      --per-class N, --steps N, --guidance G, --seed N
                       images of each class (8), network calls for each (25), how clear against how varied (1.5)
  bench           compare the speed of training and sampling with other libraries, at the same work and in one run,
                  some 4 minutes on a laptop. Writes reports/build/bench/bench.json.
      --rounds N       how often each side takes its turn (6)
      --only NAME      only the cases whose name begins so: train, sample, mlp, cnn, train-8x8 ...
  publish PLAN    copy a finished plan's report, numbers and pictures to reports/published/PLAN/, for a commit.
      --network NAME   and this trained network, for `dream`
  handout [NOTEBOOK]
                  make the versions of an exercise for students (blanks) and for instructors (solutions, executed), each
                  as .ipynb and PDF, in seconds. NOTEBOOK is a name in notebooks/handouts or the path of a notebook with
                  nbgrader's marks; without it: ddpm_by_hand. Writes reports/build/handouts/NOTEBOOK/.
                  This and the next need nbgrader: pip install -e '.[teach]'.
  grade FILE ...  run the tests of the exercise, hidden ones too, on students' notebooks, seconds each. Prints a line
                  for each and writes grades.csv (a cell is empty where a person must read the answer) and a page of
                  feedback for each to the same folder. On Linux their code is confined (see lib/teaching/grading.py),
                  on macOS it has your rights. Exit code 1: a file wants a look: it cannot be read, or lacks a cell.
      --handout NOTEBOOK   the exercise's source, as for handout

The first call makes the environment .venv: some 3 minutes, and about 6 GB on Linux. In an active virtual or conda
environment that has the packages, that one is used. Exit codes: 0 done, 1 a run or test failed (or several in several
ways), 2 a value to mend and nothing started, 3 killed or out of memory, 4 a damaged file, 5 a training diverged, 130
stopped.
"""


# ---------------------------------------------------------------- the environment
def pip_section(text):
    """The lines of environment.yml's `pip:` list, read without a YAML library."""
    found, indent = [], None
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        depth = len(line) - len(line.lstrip())
        if indent is None:
            if re.match(r"\s*-\s*pip\s*:\s*(#.*)?$", line):
                indent = depth
        elif depth <= indent:
            break
        else:
            found.append(re.match(r"\s*-\s+(.*?)\s*(\s#.*)?$", line).group(1).strip("'\""))
    return found


def environment_stamp():
    """What .venv depends on: environment.yml's pip section, the project's dependencies, Python's version."""
    import tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [pip_section((ROOT / "environment.yml").read_text(encoding="utf-8")), project["dependencies"],
              project["optional-dependencies"], list(sys.version_info[:2])]
    return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()


def in_environment():
    """Whether Python runs in a virtual environment or in a conda environment other than base."""
    conda = os.environ.get("CONDA_PREFIX") if os.environ.get("CONDA_DEFAULT_ENV") != "base" else None
    return sys.prefix != sys.base_prefix or (conda is not None and Path(conda).resolve() == Path(sys.prefix).resolve())


def make_environment():
    """Make .venv, or go on where an interrupted call stopped; the stamp is written last. Returns its Python."""
    python = ENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp, wanted = ENV / "stamp", environment_stamp()
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if not ENV.exists() and free < 8:
        raise InputError(f"{free:.1f} GB are free on the disk of {ROOT}: the environment needs about 6 GB on Linux, so "
                         "8 GB are expected")
    if importlib.util.find_spec("ensurepip") is None:
        raise InputError("this Python has no ensurepip: install the package python3-venv (Debian, Ubuntu: "
                         "apt install python3-venv) and call again")
    print("Bringing the environment .venv up to date." if ENV.exists() else
          "Making the environment .venv: some 3 minutes, about 6 GB on Linux, only once.", flush=True)
    import venv
    settings = ENV / "pyvenv.cfg"
    same = settings.exists() and "version = {}.{}.".format(*sys.version_info) in settings.read_text()
    if not (same and python.with_name("pip" + python.suffix).exists()):
        venv.EnvBuilder(with_pip=True, clear=not same, symlinks=os.name != "nt").create(str(ENV))
    packages = []
    for line in pip_section((ROOT / "environment.yml").read_text(encoding="utf-8")):
        packages += line.split(None, 1) if line.startswith("-") else [line]
    pip = subprocess.Popen(
        [str(python), "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check"] + packages,
        cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    last = []
    for line in pip.stdout:
        last = last[-14:] + [line]
        words = line.split()
        if words[:1] in (["Collecting"], ["ERROR:"]):
            print("  " + line.strip()[:100], flush=True)
        elif words[:3] == ["Installing", "collected", "packages:"]:
            print(f"  Installing (packages: {len(words) - 3})", flush=True)
    if pip.wait():
        raise InputError("".join(last) + "pip could not install the packages (its last lines stand above); with the "
                         "network back, or the line mended, the same call goes on from here")
    stamp.write_text(wanted)
    return python


def become(words):
    """Run another command in place of this process."""
    if os.name != "nt":
        sys.stdout.flush()
        os.execv(words[0], words)
    sys.exit(subprocess.call(words))


def enter_environment(arguments):
    """Go on inside an environment that has the packages: in this process if it is one, else in .venv's Python."""
    if not in_environment():
        become([str(make_environment()), "-m", "lib"] + arguments)
    missing = [name for name in STACK if importlib.util.find_spec(name) is None]
    if missing:
        wanted = " ".join(pip_section((ROOT / "environment.yml").read_text(encoding="utf-8")))
        raise InputError(f"the active environment {sys.prefix} lacks {', '.join(missing)}: run `python -m pip install "
                         f"{wanted}` in it, or deactivate it and call again")


# ---------------------------------------------------------------- report
# Snakemake imports nbformat, and that jsonschema, which would compile a grammar of web addresses: 2.5 s for nothing.
SNAKEMAKE = "import sys; sys.modules['rfc3987_syntax'] = None; from snakemake.cli import main; main()"


def snakemake(plan, profile, *words):
    """The command line of Snakemake for a plan. joblib knows a container's share of the processor, Snakemake doesn't:
    networks with more threads than that spend their time waiting for each other. On a cluster the profile decides."""
    from joblib import cpu_count
    here = ["--cores", str(cpu_count())] if profile.name in ("cpu", "gpu") else []
    if profile.name == "gpu":
        here += ["--resources", f"gpu={len(gpu_names())}"]
    return [sys.executable, "-c", SNAKEMAKE, "--snakefile", str(ROOT / "reports" / "Snakefile"), "--directory",
            str(plan.folder), "--profile", str(profile), *here, "--config", f"plan={plan.file}"] + list(words)


@functools.lru_cache
def gpu_names():
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    try:
        found = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30)
        return [str(number) for number in range(found.stdout.count(b"\nGPU ") + found.stdout.startswith(b"GPU "))]
    except (OSError, subprocess.TimeoutExpired):
        return []


def find_profile(name):
    """The folder of a profile: one of reports/profiles, or a path; "" is gpu where there is one, else cpu."""
    folder = ROOT / "reports" / "profiles"
    name = name or ("gpu" if gpu_names() else "cpu")
    if name == "gpu" and not gpu_names():
        raise InputError("profile 'gpu': expected a machine with a GPU that nvidia-smi and CUDA_VISIBLE_DEVICES name")
    for path in (folder / name, Path(name).absolute()):
        if (path / "config.yaml").is_file():
            return path
    raise InputError(f"profile {name!r}: expected one of {', '.join(sorted(p.name for p in folder.iterdir()))}, or a "
                     "folder with a config.yaml")


def planned(text):
    """The labels of the jobs that Snakemake names in a dry run."""
    return re.findall(r"^    log: (.+)/notebook\.ipynb", text, re.M)


def report(arguments):
    from filelock import FileLock, Timeout

    from lib.engine import plan as plans
    if arguments.data_dir:
        os.environ["DREAMING_DATA_DIR"] = str(Path(arguments.data_dir).expanduser().absolute())
    plan, profile = plans.read_plan(arguments.plan), find_profile(arguments.profile)
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        (plan.folder / ".lock").touch()
    except OSError as error:
        raise InputError(f"{plan.folder}: expected a folder that can be written ({error.strerror})") from None
    if arguments.dry_run:
        done = subprocess.run(snakemake(plan, profile, "--dry-run"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        labels = planned(done.stdout)
        lines = [f"{job.label}: {plans.why(job, labels)}" for job in plan.jobs if job.label in labels]
        print("\n".join([*lines, f"{len(labels)} of {len(plan.jobs)} runs would be made"] if not done.returncode
                        else ["Snakemake stopped:", done.stdout]))
        return done.returncode
    try:
        with FileLock(str(plan.folder / ".lock"), timeout=0):
            return run_plan(plan, profile)
    except Timeout:
        raise InputError(f"another command works on the plan {plan.name}: wait for its end, or stop it") from None


def run_plan(plan, profile):
    """Bring all runs of the plan and its report up to date. The plan's lock is held."""
    from lib.engine import plan as plans
    gpus = ",".join(gpu_names()) if profile.name == "gpu" else ""
    if not all(plans.is_current(job) for job in plan.jobs):
        plans.check_data(plan)
        minutes = f", minutes: {plan.minutes}" if plan.minutes else ""
        print(f"plan {plan.name} ({plan.title}): {len(plan.jobs)} runs{minutes}", flush=True)
    locks = plan.folder / ".snakemake" / "locks"
    if locks.exists() and any(locks.iterdir()):
        time.sleep(1.5)  # a killed command's Snakemake ends within a second (plans.end_with_front_door)
        shutil.rmtree(str(locks))  # what `snakemake --unlock` does, in 2 s more
    events, log = plan.folder / "jobs.jsonl", plan.folder / "snakemake.log"
    events.write_text("")
    start = time.time()
    with open(str(log), "w") as output:
        process = subprocess.Popen(
            snakemake(plan, profile), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=dict(os.environ, DREAMING_FRONT_DOOR=str(os.getpid()), DREAMING_GPUS=gpus), start_new_session=True)
        watch = Watch(plan, events, log)
        try:
            while process.poll() is None:
                watch.look()
                time.sleep(0.2)
            watch.look(last=True)
        except KeyboardInterrupt:
            print("\nstopping; the next call goes on from here", file=sys.stderr, flush=True)
            stop(process, signal.SIGINT, seconds=30)  # a second Ctrl-C ends the wait
            raise
        finally:
            stop(process, getattr(signal, "SIGKILL", signal.SIGTERM), seconds=5)
    if process.returncode:
        return explain(plan, watch, log)
    if watch.seconds:
        seconds = ", ".join(f"{label} {seconds:.0f} s" for label, seconds in watch.seconds.items())
        print(f"done in {time.time() - start:.0f} s: {seconds}")
    else:
        print(f"plan {plan.name}: everything is up to date")
    print_paths(plan)
    return 0


def print_paths(plan):
    for path in (plan.html, plan.pdf):
        print(f"  {path.relative_to(ROOT)}")


def stop(process, number, seconds):
    """Send a signal to Snakemake and all that it started; wait for the end of all (a run saves its notebook)."""
    try:
        if os.name == "nt":
            process.terminate()
            process.wait(seconds)
            return
        os.killpg(process.pid, number)
        end = time.time() + seconds
        while time.time() < end:
            process.poll()
            os.killpg(process.pid, 0)  # raises when none of them is left
            time.sleep(0.05)
    except (ProcessLookupError, PermissionError, subprocess.TimeoutExpired, KeyboardInterrupt):
        pass


def explain(plan, watch, log):
    """Tell what failed and what was not made, make the report of the rest; the exit code."""
    from lib.engine import plan as plans
    failed = dict(watch.failed, **{label: ("the run was killed (out of memory?)", 3) for label in watch.running})
    if not failed:
        print(f"Snakemake stopped; the last lines of {log.relative_to(ROOT)}:", file=sys.stderr)
        print("".join(log.read_text(errors="replace").splitlines(True)[-15:]), file=sys.stderr)
        return 1
    made = False
    if "report/default" not in failed:
        print("making the report of the runs that are there", flush=True)
        made = plans.partial_report(plan, failed)
    for job in plan.jobs:
        if job.label in failed:
            see = plans.in_root(job.notebook if job.notebook.exists() else log)
            print(f"failed: {job.label}: {failed[job.label][0]} (see {see})", file=sys.stderr)
        elif not plans.is_current(job) and job.step not in ("ablation", "report"):
            reads = " and ".join(u.label for u in job.upstream if not plans.is_current(u))
            print(f"not made: {job.label}: it reads {reads}", file=sys.stderr)
    if made:
        print("The report shows these runs as missing:", file=sys.stderr)
        print_paths(plan)
    codes = {code for _, code in failed.values()}
    return codes.pop() if len(codes) == 1 else 1


class Watch:
    """Shows how the runs of a plan go: one line that is rewritten on a terminal, else a line every 15 seconds."""

    def __init__(self, plan, events, log):
        self.plan, self.log, self.events = plan, log, open(str(events), encoding="utf-8")
        self.running, self.seconds, self.failed = {}, {}, {}
        self.number, self.total, self.terminal, self.shown = {}, None, sys.stdout.isatty(), 0

    def words(self, label, words):
        """[3/11] train/cosine ...; Snakemake's log tells how many runs this call makes (and its own rule `all`)."""
        if self.total is None:
            found = re.search(r"^total +(\d+)$", self.log.read_text(errors="replace"), re.M)
            self.total = int(found.group(1)) - 1 if found else None
        return f"[{self.number[label]}/{self.total or len(self.plan.jobs)}] {label} {words}"

    def line(self, label, words):
        if self.terminal:
            print("\r" + " " * self.shown + "\r", end="")
            self.shown = 0
        print(self.words(label, words), flush=True)

    def look(self, last=False):
        for text in self.events:
            event = json.loads(text)
            label = event["job"]
            if event["event"] == "start":
                self.number.setdefault(label, len(self.number) + 1)      # a retry keeps its number
                self.running[label] = time.time()
                self.line(label, "starts")
                continue
            self.running.pop(label, None)
            if event["event"] == "done":
                self.seconds[label] = event["seconds"]
                self.line(label, f"done in {event['seconds']:.0f} s")
            else:
                self.failed[label] = event["error"], event["code"]
                self.line(label, f"FAILED after {event['seconds']:.0f} s: {event['error']}")
        if self.terminal:
            text = " | ".join(self.words(label, self.progress(label) or f"{time.time() - since:.0f} s")
                              for label, since in self.running.items())
            text = text[:shutil.get_terminal_size().columns - 1]
            print("\r" + text.ljust(self.shown), end="\n" if last and text else "", flush=True)
            self.shown = len(text)
            return
        for label, since in self.running.items():
            if time.time() - since > 15 and self.progress(label):
                self.running[label] = time.time()
                self.line(label, self.progress(label))

    def progress(self, label):
        """The words of the run's progress.json, '' before there is one."""
        try:
            file = self.plan.folder / label / "progress.json"
            return json.loads(file.read_text(encoding="utf-8"))["line"]
        except (OSError, ValueError, KeyError):
            return ""


# ---------------------------------------------------------------- the other commands
def test(arguments):
    become([sys.executable, "-m", "pytest"] + arguments.rest)


def lab(arguments):
    # not as a file to open: then the reports, outside of its folder, could not be reached
    become([sys.executable, "-m", "jupyterlab", "--LabApp.default_url=/lab/tree/notebooks/10_schedules.ipynb"])


def run(arguments):
    from lib.engine import plan as plans
    names = {name: step for step in plans.STEPS for name in (step, plans.STEPS[step].notebook)}
    step = names.get(Path(arguments.notebook).stem)
    if step is None:
        raise InputError(f"notebook {arguments.notebook!r}: expected one of {', '.join(names)}")
    values = {}
    for word in arguments.values:
        name, sign, value = word.partition("=")
        if not sign:
            raise InputError(f"{word!r}: expected NAME=VALUE")
        values[name] = plans.parse_value(value)
    try:
        out = plans.run_interactive(step, values)
    except plans.NotebookFailed as error:
        print(f"{plans.STEPS[step].notebook}: {error} (see its executed copy in the run folder)", file=sys.stderr)
        return error.code
    print(plans.in_root(out))
    return 0


def bench(arguments):
    from lib.bench import bench
    bench.bench(arguments.rounds, arguments.only)
    return 0


def dream(arguments):
    from lib.engine import plan as plans
    from lib.engine import publish
    for value, option, low in ((arguments.per_class, "--per-class", 1), (arguments.steps, "--steps", 1),
                               (arguments.guidance, "--guidance", 0), (arguments.seed, "--seed", 0)):
        if value < low:
            raise InputError(f"{option} {value}: expected at least {low}")

    def track(records):
        for record in records:
            print(f"{record['done']} images, {record['images_per_second']:.0f} a second", flush=True)
            yield record

    for path in publish.dream(arguments.name, per_class=arguments.per_class, steps=arguments.steps,
                                guidance=arguments.guidance, seed=arguments.seed, track=track):
        print(plans.in_root(path))
    return 0


def publish(arguments):
    from lib.engine import plan as plans
    from lib.engine import publish
    print(plans.in_root(publish.publish(arguments.plan, arguments.network)))
    return 0


def handout(arguments):
    from nbclient.exceptions import CellExecutionError

    from lib.teaching import handouts
    source = handouts.find(arguments.notebook)
    try:
        for path in handouts.make(source, ROOT / "reports" / "build" / "handouts" / source.stem):
            print(f"  {path.relative_to(ROOT)}")
        return 0
    except CellExecutionError as error:
        print(f"{source.name}: a solution or test fails: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1


def grade(arguments):
    from lib.teaching import grading, handouts
    source = handouts.find(arguments.handout)
    out = ROOT / "reports" / "build" / "handouts" / source.stem
    rows = grading.grade_all(source, arguments.files, out, jobs=os.cpu_count())
    print(f"  {(out / 'grades.csv').relative_to(ROOT)}\n  {(out / 'feedback').relative_to(ROOT)}/")
    return int(any(row.trouble for row in rows))


# ---------------------------------------------------------------- the door
COMMANDS = {f.__name__: f for f in (report, test, lab, run, dream, bench, handout, grade, publish)}


def read_arguments(words):
    """The parsed arguments; .rest is what follows `test`. Ends the process for a call for help and for wrong words."""
    wants_help = {"-h", "--help"} & set(words) and words[0] != "test"
    if wants_help or not words:
        names = sorted(p.stem for p in (ROOT / "reports" / "plans").glob("*.yml"))
        print(HELP.format(plans=", ".join(names)))
        sys.exit(0 if wants_help else 2)
    usage = f"python3 -m lib {'|'.join(COMMANDS)} ... (-h explains)"
    parser = argparse.ArgumentParser(usage=usage, add_help=False, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    command = {name: commands.add_parser(name, usage=usage, add_help=False, allow_abbrev=False) for name in COMMANDS}
    command["report"].add_argument("plan", nargs="?", default="digits")
    command["report"].add_argument("--data-dir")
    command["report"].add_argument("--profile", default="")
    command["report"].add_argument("-n", "--dry-run", action="store_true")
    command["run"].add_argument("notebook")
    command["run"].add_argument("values", nargs="*", metavar="NAME=VALUE")
    command["dream"].add_argument("name", nargs="?", default="")
    for option, kind, default in (("--per-class", int, 8), ("--steps", int, 25), ("--guidance", float, 1.5),
                                  ("--seed", int, 0)):
        command["dream"].add_argument(option, type=kind, default=default)
    command["publish"].add_argument("plan")
    command["publish"].add_argument("--network", default="")
    command["bench"].add_argument("--rounds", type=int, default=6)
    command["bench"].add_argument("--only", default="")
    command["handout"].add_argument("notebook", nargs="?", default="ddpm_by_hand")
    command["grade"].add_argument("files", nargs="+", metavar="FILE")
    command["grade"].add_argument("--handout", default="ddpm_by_hand")
    arguments, rest = parser.parse_known_args(words)
    if rest and arguments.command != "test":
        parser.error("unknown words: " + " ".join(rest))
    arguments.rest = rest
    return arguments


def main(words):
    if sys.version_info < OLDEST:
        print("Python {}.{} or newer is needed, and this is {}.{}".format(*(OLDEST + tuple(sys.version_info[:2]))),
              file=sys.stderr)
        return 2
    for stream in (sys.stdout, sys.stderr):                         # a title or path that the terminal cannot show
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        arguments = read_arguments(words)
        if Path.cwd().resolve() != ROOT:
            raise InputError(f"call this from the repository's root: cd {ROOT}")
        enter_environment(words)
        os.environ["PYTHONUTF8"] = "1"                              # for Snakemake and the kernels, whatever the locale
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the runs as Ctrl-C does
        return COMMANDS[arguments.command](arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
