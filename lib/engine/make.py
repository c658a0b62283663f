"""Bring a plan up to date: decide what is to be made, let Snakemake make it, show how it goes, tell what failed."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from lib import ROOT, InputError
from lib.engine import costs, gpus
from lib.engine.plan import check_data, check_devices, in_root, read_plan
from lib.engine.stale import accept as accept_code
from lib.engine.stale import stale
from lib.engine.taken import take

SNAKEMAKE = "import lib.engine; from snakemake.cli import main; main()"


def find_profile(name):
    """The folder of a profile: one of reports/profiles, or a path; "" is gpu where there is one, else cpu."""
    folder = ROOT / "reports" / "profiles"
    name = name or ("gpu" if gpus.names() else "cpu")
    if name == "gpu" and not gpus.names():
        raise InputError("profile 'gpu': expected a machine with a GPU that nvidia-smi and CUDA_VISIBLE_DEVICES name")
    for path in (folder / name, Path(name).absolute()):
        if (path / "config.yaml").is_file():
            return path
    raise InputError(f"profile {name!r}: expected one of {', '.join(sorted(p.name for p in folder.iterdir()))}, or a "
                     "folder with a config.yaml")


def would_make(plan, again):
    """Print which runs would be made, and why. again: {label: reason}, of `stale`."""
    for label, words in again.items():
        print(f"{label}: {words}")
    if words := costs.sentence(costs.core_hours(plan, again)):
        print(words)
    print(f"{len(again)} of {len(plan.jobs)} runs would be made")
    return 0


def accept(plan, because):
    """Take the finished runs of a plan whose code alone has changed as current, and print which."""
    if not because.strip():
        raise InputError(f"--because {because!r}: expected a reason")
    with alone(plan):
        for label, reason in accept_code(plan, because.strip()).items():
            print(f"accepted: {label}: {reason}")
    print(f"`python3 -m lib report {plan.name}` makes the report, which names these runs")
    return 0


def make(plan, profile, only="", forced=()):
    """Bring all runs of the plan and its report up to date; the exit code. One command at a time works on a plan.

    0 means that every run is current, and the page and the PDF are those of the report's run. only: STEP/NAME of the
    runs that are wanted, beside those that they read; forced: jobs that are made again.
    """
    with alone(plan):
        for label, run in take(plan.only(only) if only else plan).items():
            print(f"{label} is taken from {in_root(run.folder)}")
        for job in forced:
            (job.folder / "result.json").unlink(missing_ok=True)
        return make_alone(plan, profile, only)


@contextlib.contextmanager
def alone(plan):
    """While inside, no other command works on the plan. InputError where one does, and where its folder cannot be
    written."""
    from filelock import FileLock, Timeout
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        (plan.folder / ".lock").touch()
    except OSError as error:
        raise InputError(f"{plan.folder}: expected a folder that can be written ({error.strerror})") from None
    lock = FileLock(str(plan.folder / ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another command works on the plan {plan.name}: wait for its end, or stop it") from None
    try:
        check_owner(plan)
        yield
    finally:
        lock.release()


def record(plan):
    """The file in the plan's folder of runs that tells whose they are."""
    return plan.folder / "plan.json"


def check_owner(plan):
    """InputError where the folder of runs is that of another plan of this name; else write down that it is this one's.
    A plan that is no longer where it was has moved."""
    try:
        other = ROOT / json.loads(record(plan).read_text(encoding="utf-8"))["plan"]
    except (OSError, ValueError, KeyError, TypeError):
        other = plan.file
    if other != plan.file and other.is_file() and not other.samefile(plan.file):
        raise InputError(f"plan {plan.name!r}: {in_root(plan.folder)} holds the runs of {in_root(other)}: rename one "
                         "of the two files")
    record(plan).write_text(json.dumps({"plan": in_root(plan.file)}), encoding="utf-8")


def make_alone(plan, profile, only):
    plan = plan.only(only) if only else plan
    again, start = stale(plan), time.time()
    if not again:
        print(f"plan {plan.name}: everything is up to date")
        print_pages(plan)
        return 0
    check_data(plan, again)
    if profile.name in ("cpu", "gpu"):                      # this machine
        check_devices(plan, again)
    minutes = f", minutes: {plan.minutes}" if plan.minutes else ""
    print(f"plan {plan.name} ({plan.title}): {len(plan.jobs)} runs{minutes}", flush=True)
    wanted = [[job.label for job in plan.called(only)]] if only else []
    done, watch = run_snakemake(plan, profile, again, *wanted)
    failed = watch.failed | {label: ("the run was killed (out of memory?)", 3) for label in watch.running}
    if not failed:                                          # it may have been saved meanwhile
        plan = read_plan(in_root(plan.file)).only(only) if only else read_plan(in_root(plan.file))
    left = stale(plan)
    if failed or left:
        return explain(plan, failed, left, done)
    seconds = ", ".join(f"{label} {seconds:.0f} s" for label, seconds in watch.seconds.items())
    print(f"done in {time.time() - start:.0f} s: {seconds}")
    print_pages(plan)
    return 0


def print_pages(plan):
    """The page and its PDF; of a part of a plan, which has none, the folders of its last runs."""
    read = {u.label for job in plan.jobs for u in job.upstream}
    ends = [job.folder for job in plan.jobs if job.label not in read]
    for path in (plan.html, plan.pdf) if plan.of("report") else ends:
        print(f"  {path.relative_to(ROOT)}")


# ---------------------------------------------------------------- Snakemake
def snakemake(plan, profile, labels, wanted=()):
    """The command line that makes the runs `labels` of a plan, and those without a result. wanted: only these, and what
    they read.

    Snakemake keeps no records and looks at no times: what is to be made is decided by `stale`. joblib knows a
    container's share of the processor, Snakemake doesn't: networks with more threads than that spend their time waiting
    for each other. On a cluster the profile decides. The plan stands in a file, not after --config: of `plan=C: x` or
    `plan=a #1` Snakemake would make something else than a path.
    """
    from joblib import cpu_count
    here = ["--cores", str(cpu_count())] if profile.name in ("cpu", "gpu") else []
    if profile.name == "gpu":
        here += ["--resources", f"gpu={len(gpus.names())}"]
    return [sys.executable, "-c", SNAKEMAKE, "--snakefile", str(ROOT / "reports" / "Snakefile"), "--directory",
            str(plan.folder), "--profile", str(profile), *here, "--configfile", str(record(plan)),
            "--rerun-triggers", "software-env",             # there is none: no trigger at all
            "--forcerun", *(f"{label}/result.json" for label in labels),
            *(["--", *(f"{label}/result.json" for label in wanted)] if wanted else [])]


def run_snakemake(plan, profile, labels, wanted=()):
    """Run Snakemake to its end and show how it goes. Returns its exit code and the `Watch`."""
    forget(plan)
    events, log = plan.folder / "jobs.jsonl", plan.folder / "snakemake.log"
    events.write_text("")
    env = dict(os.environ, DREAMING_FRONT_DOOR=str(os.getpid()),
               DREAMING_GPUS=",".join(gpus.names()) if profile.name == "gpu" else "")
    with open(log, "w") as output:
        process = subprocess.Popen(snakemake(plan, profile, labels, wanted), stdout=output, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, env=env, start_new_session=True)
        watch = Watch(plan, events, len(labels))
        try:
            while process.poll() is None:
                watch.look()
                time.sleep(0.2)
            watch.look()
        except (KeyboardInterrupt, BrokenPipeError):
            with contextlib.suppress(OSError):              # the terminal may be gone
                print("\nstopping; the next call goes on from here", file=sys.stderr, flush=True)
            stop(process, signal.SIGINT, seconds=30)        # a second Ctrl-C ends the wait
            raise
        finally:
            stop(process, getattr(signal, "SIGKILL", signal.SIGTERM), seconds=5)
    return process.returncode, watch


def forget(plan):
    """Remove Snakemake's records of earlier calls, and the locks of a killed one."""
    records = plan.folder / ".snakemake"
    if (records / "locks").exists() and any((records / "locks").iterdir()):
        time.sleep(1.5)             # a killed command's Snakemake ends within a second (lib.processes.end_with)
    shutil.rmtree(records, ignore_errors=True)


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


# ---------------------------------------------------------------- failures
def explain(plan, failed, left, done):
    """Tell what failed and what was not made, make the report of the rest; the exit code, not 0.

    failed: {label: (sentence, code)}; left: {label: why} of the runs that are not current; done: Snakemake's exit code.
    """
    log = plan.folder / "snakemake.log"
    if not failed and done:
        print(f"Snakemake stopped; the last lines of {log.relative_to(ROOT)}:", file=sys.stderr)
        print("".join(log.read_text(errors="replace").splitlines(True)[-15:]), file=sys.stderr)
        return 1
    if not failed:
        print("the plan, its code or its images changed meanwhile; the same call makes what is left:", file=sys.stderr)
        for label, words in left.items():
            print(f"not up to date: {label}: {words}", file=sys.stderr)
        return 1
    made = set()
    if "report/default" not in failed and plan.of("report"):
        print("making the report of the runs that are there", flush=True)
        made = partial_report(plan, failed, left)
    for job in plan.jobs:
        if job.label in failed:
            see = in_root(job.notebook if job.notebook.exists() else log)
            print(f"failed: {job.label}: {failed[job.label][0]} (see {see})", file=sys.stderr)
        elif job.label in left and job.step not in ("ablation", "report"):
            reads = " and ".join(u.label for u in job.upstream if u.label in left)
            words = f"it reads {reads}" if reads else left[job.label]
            print(f"made without {reads}: {job.label}" if job.label in made else f"not made: {job.label}: {words}",
                  file=sys.stderr)
    if "report/default" in made:
        print("The report shows these runs as missing:", file=sys.stderr)
        print_pages(plan)
    codes = {code for _, code in failed.values()}
    return codes.pop() if len(codes) == 1 else 1


def partial_report(plan, failed, left):
    """Report on a plan of which the runs `left` are not current, `failed` of them by an error: the others, and those as
    missing; studies are made of the replicates that are there. Returns the labels of what was made: it has other
    parameters than the plan's, so it is never up to date."""
    from joblib import cpu_count

    from lib.engine.kernel import run_job
    usable, made = {job.label for job in plan.jobs} - set(left), set()
    for job in plan.of("augment", "dose", "ablation", "report"):
        if job.label in usable or job.label in failed:
            continue
        values = of_the_rest(job, usable | made)
        if values and run_job(values, cpu_count()) == 0:
            made.add(job.label)
    return made


def of_the_rest(job, usable):
    """The parameters of a job that reads those of its runs that are `usable`, and knows the others as missing.

    Of a study of replicates it leaves out each one with a run that is not usable; None where fewer than two are left,
    and for a study without replicates.
    """
    there, gone = ([u for u in job.upstream if (u.label in usable) == known] for known in (True, False))
    if job.step in ("augment", "dose"):
        lost = {u.replicate for u in gone}
        there = [u for u in there if u.replicate not in lost]
        if "" in lost or len({u.replicate for u in there}) < 2:
            return None
    left = {u.config.run_dir for u in there}
    values = job.values | {name: [folder for folder in job.values[name] if folder in left]
                           for name in ("generate_runs", "oracle_runs", "runs") if name in job.values}
    return values | {"missing": [u.config.run_dir for u in gone]} if "missing" in values else values


# ---------------------------------------------------------------- progress
class Watch:
    """Prints how the runs of a plan go: a line where one starts and where it ends, every 15 seconds how far it is."""

    def __init__(self, plan, events, total):
        self.plan, self.total, self.events = plan, total, open(events, encoding="utf-8")
        self.running, self.seconds, self.failed, self.number = {}, {}, {}, {}

    def say(self, label, message):
        print(f"[{self.number[label]}/{self.total}] {label} {message}", flush=True)

    def look(self):
        for event in map(json.loads, self.events):
            label, seconds = event["job"], event["seconds"]
            if event["event"] == "start":
                self.number.setdefault(label, len(self.number) + 1)         # a retry keeps its number
                self.failed.pop(label, None)
                self.running[label] = time.time()
                self.say(label, "starts")
                continue
            self.running.pop(label, None)
            if event["event"] == "done":
                self.seconds[label] = seconds
                self.say(label, f"done in {seconds:.0f} s")
            else:
                self.failed[label] = event["error"], event["code"]
                self.say(label, f"FAILED after {seconds:.0f} s: {event['error']}")
        for label, since in self.running.items():
            if time.time() - since > 15:
                self.running[label] = time.time()
                with contextlib.suppress(OSError, ValueError, KeyError):    # it has not begun to count yet
                    progress = json.loads((self.plan.folder / label / "progress.json").read_text(encoding="utf-8"))
                    self.say(label, progress["line"])
