"""The commands of the front door. Their packages are imported inside of them: help needs the standard library alone."""
import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from lib import ROOT, InputError
from lib.diffusion import SAMPLERS
from lib.engine.environment import become

ABOUT = "Does a diffusion model's synthetic data help a classifier?"
END = """\
The first call makes the environment .venv; test, handout, grade and bench add what they need with their first call. In
an active virtual or conda environment that has the packages, that one is used. Paths count from the working directory.

exit codes: 0 done, 1 a run or test failed (or several in several ways), 2 a value to mend and nothing started, 3 killed
or out of memory, 4 a damaged file, 5 a training diverged, 130 stopped
"""


def report(arguments):
    """Run the notebooks of a plan and assemble the report.

    What is up to date is not made again. Writes reports/build/PLAN/report.html and .pdf, and reports/runs/PLAN/.
    """
    from lib.engine import make
    from lib.engine.plan import check_data, check_devices, in_root, read_plan
    if arguments.tell:
        from lib.engine import publish
        code, page = publish.tell(arguments.plan)
        if not code:
            print(f"  {in_root(page)}\n  {in_root(page.with_suffix('.pdf'))}")
            print(opens(os.path.relpath(page, arguments.cwd)))
        return code
    from lib.engine.stale import stale
    from lib.engine.taken import taken
    if arguments.data_dir:
        os.environ["DREAMING_DATA_DIR"] = arguments.data_dir
    if arguments.synthetic_dir:
        os.environ["DREAMING_SYNTHETIC_DIR"] = arguments.synthetic_dir
        stem, ending = os.path.splitext(arguments.plan)
        stem = stem.removesuffix("-synthetic")
        if not (ROOT / "reports" / "plans" / f"{stem}-synthetic.yml").is_file() and not os.path.isfile(
                f"{stem}-synthetic{ending}"):
            raise InputError(f"--synthetic-dir with the plan {arguments.plan!r}: expected own, or a plan with another "
                             "one beside it whose name ends with -synthetic")
        arguments.plan = f"{stem}-synthetic{ending}"
    plan, profile = read_plan(arguments.plan), make.find_profile(arguments.profile)
    part = plan.only(arguments.only) if arguments.only else plan
    forced = part.called(arguments.force) if arguments.force else []
    if not arguments.dry_run:
        code = make.make(plan, profile, arguments.only, forced)
        if not code and part is plan:
            print(opens(os.path.relpath(plan.html, arguments.cwd)))
        return code
    forced = {job.label for job in forced}
    again = stale(part, forced)
    for label, run in taken(part).items():
        if label not in forced:
            del again[label]
            print(f"{label} would be taken from {in_root(run.folder)}")
    for folder in check_data(part, again, download=False):
        print(f"{folder.name} would be downloaded to {folder.parent}")
    if profile.name in ("cpu", "gpu"):
        check_devices(part, again)
    return make.would_make(part, again)


def opens(path):
    """The command that opens a file as a double click does, to be copied."""
    if os.name == "nt":
        return subprocess.list2cmdline(["start", "", path])
    return shlex.join(["open" if sys.platform == "darwin" else "xdg-open", path])


def table(arguments):
    """Write the numbers of finished plans, or of published ones, to one tidy CSV, and print it.

    A row is a measured quantity of a run, with the parameters in which the runs differ. Writes reports/build/table.csv.
    """
    from lib.engine import publish
    from lib.engine.plan import in_root
    from lib.report import runs
    from lib.report.collected import collect
    from lib.report.tidy import tidy
    collections = [collect([runs.load(folder, whole=False) for folder in folders], plan=about["plan"])
                   for folders, about in map(publish.finished_or_published, arguments.plans)]
    text = tidy(collections).to_csv(index=False)
    path = runs.write_atomic(ROOT / "reports" / "build" / "table.csv", text)
    print(text, end="")
    print(in_root(path), file=sys.stderr)
    return 0


def accept(arguments):
    """Take a plan's finished runs as current though their code has changed, for a reason that its report shows.

    A run that is stale for another reason is not accepted. Keeps the old record of the code in the run's
    provenance.json; `report` then makes the page again.
    """
    from lib.engine import make
    from lib.engine.plan import read_plan
    return make.accept(read_plan(arguments.plan), arguments.because)


def test(arguments):
    """Run the fast tests and a tiny plan, 3 to 4 minutes; what follows is passed on to pytest.

    Writes only temporary files.
    """
    from joblib import cpu_count
    chosen = [] if arguments.all else ["-m", "smoke or not slow"]
    spread = ["-n", str(cpu_count()), "--dist", "loadfile", "--no-loadscope-reorder"]
    become([sys.executable, "-m", "pytest", *spread, *chosen, *arguments.rest])


def lab(arguments):
    """Open JupyterLab on your own copies of the pages, in the folder mine/; what follows (--port ...) is passed on.

    Change them as you like: git ignores them, and plans read notebooks/. Interactive runs write
    reports/runs/interactive/.
    """
    copy_pages(arguments.fresh)
    # nbgrader's buttons are for teachers; formgrader: `grade --by-hand`
    settings = ROOT / "reports" / "build" / ".lab" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('{"disabledExtensions": {"@jupyter/nbgrader": true}}', encoding="utf-8")
    quiet = '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}'       # else it asks on page 00
    settings.with_name("default_setting_overrides.json").write_text(quiet, encoding="utf-8")
    paths = [str(settings.parent.parent), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, paths))
    # not as a file to open: then the reports, outside of its folder, could not be reached
    lab = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--LabApp.default_url=/lab/tree/mine/00_start.ipynb",
                            *arguments.rest])
    signal.signal(signal.SIGINT, signal.SIG_IGN)            # Ctrl-C is JupyterLab's: it asks
    try:
        code = lab.wait()
    finally:
        lab.terminate()
    if code > 0:
        print(f"JupyterLab stopped with exit code {code} and says why above; `lab --help` tells its options",
              file=sys.stderr)
    return code


def copy_pages(fresh=False):
    """Copy each page of notebooks/ that is not there yet, or if `fresh` all of them, to mine/."""
    folder, stamp = ROOT / "mine", ROOT / "mine" / ".copied"
    folder.mkdir(exist_ok=True)
    pages = sorted((ROOT / "notebooks").glob("*.ipynb"))
    if stamp.exists() and not fresh:
        newer = [page.name for page in pages if page.stat().st_mtime > stamp.stat().st_mtime]
        if newer:
            print(f"newer in notebooks/ than your copies: {', '.join(newer)}; `lab --fresh` replaces all of yours")
    for page in pages:
        if fresh or not (folder / page.name).exists():
            shutil.copyfile(page, folder / page.name)
    if fresh or not stamp.exists():
        stamp.touch()


def run(arguments):
    """Run one notebook with its defaults but for the given values, seconds to minutes.

    Writes reports/runs/interactive/STEP/ with the executed copy.
    """
    from lib.engine.kernel import NotebookFailed, run_interactive
    from lib.engine.parameters import STEPS
    from lib.engine.plan import in_root, parse_value
    step, values = step_of(arguments.notebook), {}
    for word in arguments.values:
        name, sign, value = word.partition("=")
        if not sign:
            raise InputError(f"{word!r}: expected NAME=VALUE")
        values[name] = parse_value(value)
        if name in ("data_dir", "synthetic_dir") and isinstance(values[name], str) and values[name]:
            values[name] = os.path.join(arguments.cwd, os.path.expanduser(values[name]))
    try:
        print(in_root(run_interactive(step, values)))
    except NotebookFailed as error:
        print(f"{STEPS[step].notebook}: {error} (see its executed copy in the run folder)", file=sys.stderr)
        return error.code
    return 0


def step_of(notebook):
    """The step of a notebook that is given by its step, its name or its file. InputError where there is none."""
    from lib.engine.parameters import STEPS
    names = {name: step for step in STEPS for name in (step, STEPS[step].notebook)}
    if Path(notebook).stem not in names:
        raise InputError(f"notebook {notebook!r}: expected one of {', '.join(names)}")
    return names[Path(notebook).stem]


def parameters_of(notebook):
    """The parameters of a notebook with their types, defaults and comments, as in its first code cell."""
    from lib.engine.parameters import STEPS, cells
    step = STEPS[step_of(notebook)]
    (cell,) = (cell for cell in cells(step.file) if "parameters" in cell.metadata.get("tags", []))
    return f"Parameters of notebooks/{step.file.name}, as NAME=VALUE:\n\n{cell.source}"


def dream(arguments):
    """Generate images with a published network, or a run's, without data and training.

    By default as the study of its plan did. Writes reports/build/dreams/NAME.png, a row for each class, and .npz.
    """
    from lib.engine import dreams
    from lib.engine.plan import in_root
    for value, option, low, high in (
            (arguments.per_class, "--per-class", 1, 1000), (arguments.guidance, "--guidance", 0, 100),
            (arguments.seed, "--seed", 0, 2**31 - 1)):
        if value is not None and not low <= value <= high:
            raise InputError(f"{option} {value}: expected {low} to {high:,}")

    def track(records):
        for record in records:
            print(f"{record['done']} images, {record['images_per_second']:.0f} a second", flush=True)
            yield record

    options = {name: value for name in ("sampler", "steps", "guidance")
               if (value := getattr(arguments, name)) is not None}
    for path in dreams.dream(arguments.name, classes=arguments.classes, per_class=arguments.per_class,
                             seed=arguments.seed, out=arguments.out, track=track, **options):
        print(in_root(path))
    return 0


def bench(arguments):
    """Compare the speed of training and sampling with other libraries, some 4 minutes on a laptop.

    The same work, in one run. Writes reports/build/bench/bench.json.
    """
    from lib.bench import bench
    bench.bench(arguments.rounds, arguments.only, minutes=arguments.minutes)
    return 0


def publish(arguments):
    """Copy a finished plan's report, numbers and pictures to reports/published/PLAN/, for a commit.

    Only what a commit made is published.
    """
    from lib.engine import publish
    from lib.engine.plan import in_root
    print(in_root(publish.publish(arguments.plan, arguments.network, arguments.networks)))
    return 0


def handout(arguments):
    """Make an exercise's versions for students and instructors, as .ipynb and PDF, and nbgrader's course folder.

    Students get blanks, instructors solutions, executed. Writes reports/build/handouts/NOTEBOOK/.
    """
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
    """Grade students' notebooks by the tests of an exercise, hidden ones too, half a minute each.

    The student's name is the file's. Adds to what was graded before, and writes grades.csv and feedback; without files
    it writes both anew, with the points that were given by hand. Exit code 1: a file wants a look: it cannot be read,
    or something went wrong beside the tests. Students' code has your rights: notebooks/README.md has a container for
    strangers' code.
    """
    import joblib

    from lib.engine.plan import in_root
    from lib.teaching import grading, handouts
    source = handouts.find(arguments.handout)
    course = ROOT / "reports" / "build" / "handouts" / source.stem
    if arguments.by_hand:
        handouts.make_course(source, course)
        print(f"Opening nbgrader's formgrader on {in_root(course)}; Ctrl-C ends it.", flush=True)
        os.chdir(course)
        become([sys.executable, "-m", "jupyterlab", "--LabApp.default_url=/formgrader",
                f"--ServerApp.root_dir={course}"])
    look = grading.grade(source, arguments.files, course, jobs=joblib.cpu_count())       # a container's share
    print(f"  {in_root(course / 'grades.csv')}\n  {in_root(course / 'feedback')}/")
    return int(look)


# ---------------------------------------------------------------- arguments
EXTRAS = {"test": "test", "handout": "teach", "grade": "teach", "bench": "bench"}     # of pyproject.toml, by command


def path(text):
    """A path of the user's: it counts from the working directory."""
    return os.path.abspath(os.path.expanduser(text))


def name_or(*endings):
    """The type of an argument that is a name, or the path of a file with one of these endings."""
    def convert(text):
        return path(text) if text.endswith(endings) and os.path.realpath(os.curdir) != str(ROOT) else text
    return convert


def profile_name(text):
    """A name in reports/profiles, or the path of a folder with a config.yaml."""
    is_folder = os.path.isfile(os.path.join(text, "config.yaml"))
    return path(text) if is_folder and not (ROOT / "reports" / "profiles" / text).is_dir() else text


def parser():
    whole = argparse.ArgumentParser(prog="python3 -m lib", description=ABOUT, epilog=END, allow_abbrev=False,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = whole.add_subparsers(metavar="COMMAND", required=True)

    def add(call):
        text = call.__doc__ or call.__name__                # python -OO keeps no docstrings
        summary = text.partition("\n")[0]
        one = commands.add_parser(call.__name__, help=summary[0].lower() + summary[1:].rstrip("."), allow_abbrev=False,
                                  description=" ".join(text.split()))
        one.set_defaults(call=call, passes_on=call in (test, lab), refuse=one.error,
                         extra=EXTRAS.get(call.__name__, ""))
        return one.add_argument

    plans = ", ".join(sorted(p.stem for p in (ROOT / "reports" / "plans").glob("*.yml")))
    option = add(report)
    option("plan", nargs="?", default="digits", type=name_or(".yml"), metavar="PLAN",
           help=f"one of {plans}, or the path of a .yml file; without it digits: minutes on a laptop, no download")
    option("--data-dir", type=path, metavar="DIR",
           help="where data sets lie or are downloaded to (else DREAMING_DATA_DIR, else the user's cache)")
    option("--synthetic-dir", type=path, metavar="DIR",
           help="synthetic images that another generator made: class folders, or an .npz; with own")
    option("--profile", default="", type=profile_name, metavar="NAME",
           help="where it runs: cpu, gpu (that of this machine), slurm, or a folder with a config.yaml")
    option("-n", "--dry-run", action="store_true", help="only tell which runs would be made, and why (seconds)")
    option("--only", default="", metavar="STEP/NAME", help="only this run and those that it reads: augment/mlp")
    option("--force", default="", metavar="STEP/NAME", help="make this run again, though it is up to date")
    option("--tell", action="store_true",
           help="only make the page again, from finished runs or from what is published; runs nothing")
    add(table)("plans", nargs="+", type=name_or(".yml"), metavar="PLAN", help="plans with finished or published runs")
    option = add(accept)
    option("plan", type=name_or(".yml"), metavar="PLAN", help="a plan with finished runs")
    option("--because", required=True, metavar="TEXT", help="why the change of code does not change the results")
    add(test)("--all", action="store_true", help="the slow ones too")
    add(lab)("--fresh", action="store_true", help="copy all pages anew, over your changes")
    option = add(run)
    option("notebook", metavar="NOTEBOOK",
           help="its file (20_train_ddpm) or step (train); `run train --help` lists its parameters")
    option("values", nargs="*", metavar="NAME=VALUE", help="parameters of the notebook's first cell")
    option = add(dream)
    option("name", nargs="?", default="", type=name_or(".safetensors"), metavar="NAME",
           help="the plan of a published network, or a file model.safetensors; without it that of the largest images")
    option("--classes", nargs="+", default=[], metavar="CLASS", help="names or numbers of classes (all)")
    option("--per-class", type=int, default=8, metavar="N", help="images of each class (8)")
    option("--sampler", choices=SAMPLERS, help="from noise to image (that of the network's study)")
    option("--steps", type=int, metavar="N", help="network calls for each image (those of its study)")
    option("--guidance", type=float, metavar="G", help="how clear against how varied (that of its study)")
    option("--seed", type=int, default=0, metavar="N", help="another seed gives other images (0)")
    option("--out", default="", type=path, metavar="FILE",
           help="a sheet .png, an array .npz, the walk from noise .gif, or a folder for single files CLASS/0000.png")
    option = add(bench)
    option("--rounds", type=int, default=6, metavar="N", help="how often each side takes its turn (6)")
    option("--only", default="", metavar="NAME",
           help="only the cases whose name begins so: train, sample, mlp, cnn, train-8x8 ...; or quality: the time "
                "that images of a given quality take, on CIFAR-10")
    option("--minutes", type=float, default=13, metavar="N",
           help="quality: processor time of a training (13); the images of the libraries' networks take hours more")
    option = add(publish)
    option("plan", type=name_or(".yml"), metavar="PLAN", help="a finished plan")
    option("--network", default="", metavar="NAME", help="and this trained network, for `dream`")
    option("--networks", action="store_true",
           help="and all trained networks: plans with the same trainings take them instead of training")
    exercise = "a name in notebooks/handouts, or the path of a notebook with nbgrader's marks (ddpm_by_hand)"
    add(handout)("notebook", nargs="?", default="ddpm_by_hand", type=name_or(".ipynb"), metavar="NOTEBOOK",
                 help=exercise)
    option = add(grade)
    option("files", nargs="*", type=name_or(""), metavar="FILE", help="students' notebooks, one file each")
    option("--handout", default="ddpm_by_hand", type=name_or(".ipynb"), metavar="NOTEBOOK", help=exercise)
    option("--by-hand", action="store_true", help="open nbgrader's formgrader, for the answers that a person reads")
    return whole


def read(argv):
    """The parsed arguments: .call is the command, .rest what it passes on, .extra the extra of pyproject.toml that it
    needs, .cwd the working directory. Ends the process where asked for help, and for wrong arguments."""
    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        raise InputError("the working directory is gone: change to one that is there") from None
    if argv[:1] == ["run"] and {"-h", "--help"} & set(argv) and (notebook := [w for w in argv[1:] if w[:1] != "-"]):
        print(parameters_of(notebook[0]))
        sys.exit(0)
    whole = parser()
    if not argv:
        whole.print_help()
        sys.exit(2)
    arguments, rest = whole.parse_known_args(argv)
    arguments.rest, arguments.cwd = rest, cwd
    if arguments.rest and not arguments.passes_on:
        arguments.refuse("unknown words: " + " ".join(arguments.rest))
    if os.path.basename(getattr(arguments, "profile", "")) not in ("", "cpu", "gpu"):
        arguments.extra = "slurm"
    for name in ("DREAMING_DATA_DIR", "DREAMING_SYNTHETIC_DIR"):
        if os.environ.get(name):
            os.environ[name] = path(os.environ[name])
    return arguments
