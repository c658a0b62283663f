"""A plan: a YAML file that names the runs of a report, read here into jobs and checked before the first one starts.

reports/plans/<name>.yml -> `read_plan` -> jobs; reports/Snakefile turns them into a graph, `lib.engine.kernel.run_job`
is one node of it.

A value {sweep: [1, 2, 3]} of a run makes a run for each, called NAME-PARAMETER-VALUE; other lines name all of them by
NAME.

`replicates: R` makes R complete repetitions of each training and generation, called NAME.0 to NAME.(R-1): replicate r
has data_seed + r and seed + r, and a generation reads the training of its own replicate. Other lines name all of them
by NAME. A run that needs no repetition says `replicates: 1`.
"""
import dataclasses
import itertools
import re
import warnings
from pathlib import Path
from typing import Annotated

from lib import ROOT, InputError
from lib.engine import gpus, parameters
from lib.engine.parameters import READS, STEPS
from lib.engine.values import between, check, one_line, perhaps, shown

SET_BY_PLAN = ("run_dir", "runs", "missing", "plan", "title", "about")      # parameters that no run is given
COMPARED = ("train", "generate", "augment", "dose")                         # the steps that an ablation compares
REPEATED = ("train", "generate", "external")                                # the steps that have replicates
REAL = ("train", "external")                                                # the steps that read real images
REPLICATED = ("data_seed", "seed")                                          # what replicate r has r more of
MOST_REPLICATES = 100
NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9_-])?", re.ASCII | re.IGNORECASE)       # of a run's folder
NAME_RULE = "letters, digits and . _ -, no dot at an end"


# ---------------------------------------------------------------- YAML 1.2
def read_yaml(text):
    """The value of a YAML 1.2 text (1e-4 is a number, `no` is text; `<<: *name` takes over another mapping's values).
    InputError for what is no YAML, and for a key or anchor given twice."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import ReusedAnchorWarning, YAMLError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ReusedAnchorWarning)
            return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise InputError(one_line(line + (getattr(error, "problem", None) or str(error)))) from None
    except RecursionError:
        raise InputError("it is nested too deeply") from None
    except Exception as error:                              # ruamel raises many kinds for a value like 2026-99-99
        raise InputError(one_line(f"a value that YAML does not know ({error})")) from None


def parse_value(text):
    """The value of `NAME=VALUE` on the command line, read as YAML 1.2; nothing at all is an empty text."""
    try:
        return read_yaml(text) if text else ""
    except InputError as error:
        raise InputError(one_line(f"{shown(text)} is no YAML value: {error}")) from None


# ---------------------------------------------------------------- plan -> jobs
@dataclasses.dataclass(frozen=True)
class Job:
    """One run of one step: its checked parameters, and the jobs whose results it reads. family: its name in the plan,
    which it shares with the other replicates; sweep: the name of the line, which it shares with the others of a
    sweep."""

    step: str
    name: str
    config: parameters.Config
    upstream: tuple
    family: str
    sweep: str

    @property
    def label(self):
        return f"{self.step}/{self.name}"

    @property
    def replicate(self):
        """Which replicate of its family it is, as its name ends: ".3"; "" for a run without replicates."""
        return self.name.removeprefix(self.family)

    @property
    def values(self):
        return dataclasses.asdict(self.config)

    @property
    def folder(self):
        return ROOT / self.config.run_dir

    @property
    def gpus(self):
        """How many GPUs the run takes, where there are any."""
        return int(self.step in gpus.STEPS)

    @property
    def notebook(self):
        """The executed copy."""
        return self.folder / "notebook.ipynb"


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
        return ROOT / "reports" / "runs" / self.name

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

    def called(self, label):
        """The jobs that STEP/NAME names (see `named`). InputError where there is none."""
        step, _, name = label.partition("/")
        if not (found := named(name, (step,), self.jobs)):
            known = dict.fromkeys(f"{j.step}/{j.sweep}" for j in self.jobs)
            raise InputError(f"run {shown(label)}: expected one of {', '.join(known)}")
        return found

    def only(self, label):
        """A smaller plan: the jobs that STEP/NAME names, and the jobs whose results these read."""
        wanted = {job.label for job in self.called(label)}
        for job in reversed(self.jobs):
            wanted |= {u.label for u in job.upstream} if job.label in wanted else set()
        return dataclasses.replace(self, jobs=[job for job in self.jobs if job.label in wanted])

    def threads(self, cores):
        """Threads for each job, so that as many trainings as possible stand side by side."""
        return max(1, cores // min(max(1, len(self.of(*REAL))), cores))


def find_plan(plan):
    """The file of a plan, given by name or as a path, from the repository's root, to a .yml file."""
    folder = ROOT / "reports" / "plans"
    names = sorted(p.stem for p in folder.glob("*.yml"))
    path = folder / f"{plan}.yml" if plan in names else ROOT / plan
    path = path.parent.resolve() / path.name                # through a link, or with .. in it: the same plan
    if path.suffix != ".yml" or not path.is_file():
        raise InputError(f"plan {shown(plan)}: expected one of {', '.join(names) or '(none)'}, or the path of a .yml "
                         "file")
    if not NAME.fullmatch(path.stem):
        raise InputError(f"plan {shown(plan)}: expected a file name of {NAME_RULE}")
    for name in ("interactive", *names):                    # their runs lie in one folder; some systems know no case
        if name.lower() == path.stem.lower() and path != folder / f"{name}.yml" or path.stem == "interactive":
            raise InputError(f"plan {shown(plan)}: another plan has the name {name!r}, and so its runs; rename the "
                             "file")
    return path


def read_plan(plan):
    """Read the plan and check every parameter of every run. InputError: a line for each run that is refused names file,
    step, run and parameter."""
    path = find_plan(plan)
    try:
        return Plan(path.stem, path, **read_jobs(path))
    except InputError as error:
        raise InputError(in_lines(path, str(error).splitlines() or [""])) from None


def in_lines(path, told):
    """A line for each sentence on the plan in a file."""
    return "\n".join(one_line(f"{in_root(path)}: {words}") for words in told)


def read_jobs(path):
    """{title, about, minutes, jobs} of the plan in a file."""
    tree = read_yaml(read_text(path))
    words = {"title": path.stem, "about": "", "minutes": ""}
    check_names("", tree, [*words, "replicates", "common", *STEPS])
    for word in words:
        words[word] = tree.get(word, words[word])
        check(word, words[word], str)
    replicates = check_replicates(tree.get("replicates", 1), MOST_REPLICATES)
    common = tree.get("common") or {}
    fields = {step: [f.name for f in dataclasses.fields(STEPS[step].config)] for step in STEPS}
    check_names("common: ", common, sorted({n for names in fields.values() for n in names} - {*SET_BY_PLAN, *READS}))
    if not any(tree.get(step) for step in REAL):
        raise InputError("train: expected at least one run, for example {linear: {schedule: linear}}; or external: one "
                         "of images that another generator made")

    jobs, told = [], {}                                     # told: {sentence: the first run that it is said of}
    for step in STEPS:
        absent = step in (*COMPARED, "external") or step == "ablation" and not tree.get("train")
        runs = tree.get(step, {} if absent else {"default": {}})
        check_names(f"{step}: ", runs, ["default"] if step == "report" else None)
        if step == "report" and not runs:
            raise InputError("report: expected one run named default, or no such line")
        defaults = parameters.defaults(STEPS[step].file) if runs else {}       # only the notebooks that are used
        for line, name, given in swept(step, runs):
            if reads_refused(given, tree, jobs):            # nothing can be said of it yet
                continue
            try:
                made = make_jobs(path.stem, words, step, name, given or {}, common, defaults, jobs, replicates)
                made = [dataclasses.replace(job, sweep=line) for job in made]
                jobs += made
                for job in made:
                    job.config.check_with(job.upstream)
            except InputError as error:
                told.setdefault(one_line(str(error)), f"{step}.{name}")
    if told:
        raise InputError("\n".join(f"{label}: {sentence}" for sentence, label in told.items()))
    return words | {"jobs": jobs}


def swept(step, runs):
    """[(line, name, parameters)] of a step's lines: of one with a {sweep: [...]} a run for each value, of several all
    combinations. InputError for a sweep without values, and for two of one name."""
    found = []
    for line, given in runs.items():
        several = {k: v["sweep"] for k, v in given.items() if isinstance(v, dict) and list(v) == ["sweep"]
                   } if isinstance(given, dict) else {}
        for parameter, values in several.items():
            if not isinstance(values, list) or not values:
                raise InputError(f"{step}.{line}: {parameter}: sweep: {shown(values)}: expected a list of values")
        for values in itertools.product(*several.values()):
            chosen = dict(zip(several, values, strict=True))
            words = [re.sub(r"[^A-Za-z0-9_.]+", "-", f"{k}-{v}").strip("-.") for k, v in chosen.items()]
            found.append((line, "-".join([line, *words]), given | chosen if chosen else given))
    names = [name for _, name, _ in found]
    if two := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{step}: two runs have the name {two[0]!r}: expected values of a sweep that differ")
    check_names(f"{step}: ", dict.fromkeys(names), ["default"] if step == "report" else None)
    return found


def reads_refused(given, tree, jobs):
    """Whether the parameters `given` of a run name one that the plan has and that became no job."""
    named = [(sources, given.get(parameter)) for parameter, sources in READS.items()] if isinstance(given, dict) else []
    made = {(job.step, name) for job in jobs for name in (job.name, job.family, job.sweep)}
    return any(isinstance(name, str) and name in (tree.get(source) or {}) and (source, name) not in made
               for sources, names in named for name in (names if isinstance(names, list) else [names])
               for source in sources)


def read_text(path):
    """The text of a plan. InputError where it is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start + 1} is no UTF-8: save the file as UTF-8 text") from None
    except OSError as error:
        raise InputError(f"it can't be read ({error.strerror})") from None


def check_names(where, mapping, accepted=None):
    """Raise InputError unless `mapping` has only the accepted names (None: any that can name a folder)."""
    if not isinstance(mapping, dict):
        raise InputError(f"{where}expected lines of the form name: value, not {shown(mapping)}")
    for name in mapping:
        if accepted is None:
            if not (isinstance(name, str) and len(name) <= 100 and NAME.fullmatch(name)):
                raise InputError(f"{where}the run name {shown(name)}: expected text of {NAME_RULE}")
            if len(alike := [other for other in mapping if str(other).lower() == name.lower()]) > 1:
                raise InputError(f"{where}the run names {' and '.join(alike)} differ by case only: expected names that "
                                 "every system tells apart")
        elif name not in accepted:
            raise InputError(f"{where}unknown name {shown(name)}{perhaps(name, accepted)}; accepted are "
                             f"{', '.join(accepted)}")


def check_replicates(number, most):
    """`number` itself. InputError unless there can be so many replicates."""
    check("replicates", number, Annotated[int, between(1, most)])
    return number


def make_jobs(plan, words, step, name, given, common, defaults, jobs, replicates):
    """The jobs of one line of the plan: of a training as many as it has `replicates`, NAME.0, NAME.1 ..., of a
    generation as many as its training has, of another step one. `jobs`: those before them."""
    if not isinstance(given, dict):
        raise InputError(f"expected lines of the form parameter: value, not {shown(given)}")
    if taken := [parameter for parameter in SET_BY_PLAN if parameter in given]:
        raise InputError(f"{taken[0]} is set by the plan itself; remove the line")
    if step not in REPEATED:
        return [make_job(plan, words, step, name, name, given, common, defaults, jobs)]
    most = len(named(given.get("train_run"), ("train",), jobs)) or 1 if step == "generate" else replicates
    number = check_replicates(given.get("replicates", most), most)
    given = {k: v for k, v in given.items() if k != "replicates"}
    made = []
    for r in range(number):
        full = f"{name}.{r}" if number > 1 else name
        if any((j.step, j.name) == (step, full) for j in jobs):
            raise InputError(f"another run has the name {full!r}")
        made.append(make_job(plan, words, step, full, name, given, common, defaults, jobs, r))
    return made


def make_job(plan, words, step, name, family, given, common, defaults, jobs, replicate=0):
    """The job of one run: its values over the common ones over the notebook's defaults; of a replicate, its seeds."""
    upstream = [j for j in jobs if step == "report" or j.step in COMPARED] if "runs" in defaults else []
    by_plan = {"run_dir": f"reports/runs/{plan}/{step}/{name}", "runs": [j.config.run_dir for j in upstream],
               "missing": [], "plan": plan, "title": words["title"], "about": words["about"]}
    for parameter, sources in READS.items():
        if parameter in defaults and not defaults[parameter] == given.get(parameter, []) == []:
            told, several = given.get(parameter), isinstance(defaults[parameter], list)
            names = told if several and isinstance(told, list) else [told]
            read = [named(one, sources, jobs) for one in names]
            if not read or not all(read) or not several and len({job.family for job in read[0]}) > 1:
                what = "a list of names of runs" if several else "the name of a run"
                known = dict.fromkeys(j.family for j in jobs if j.step in sources)
                if read and read[0]:
                    told = f"{told}, a sweep"
                raise InputError(f"{parameter}={shown(told)}: expected {what} of the step {' or '.join(sources)}: "
                                 f"{', '.join(known)}")
            read = [job for family in read for job in family] if several else [read[0][replicate]]
            upstream += read
            by_plan[parameter] = [j.config.run_dir for j in read] if several else read[0].config.run_dir
    values = defaults | {k: v for k, v in common.items() if k in defaults} | given
    values |= {k: v for k, v in by_plan.items() if k in defaults}
    config = parameters.build(STEPS[step].config, values)
    seeds = {k: getattr(config, k) + replicate for k in REPLICATED if replicate and k in values}
    return Job(step, name, dataclasses.replace(config, **seeds), tuple(upstream), family, family)


def named(name, steps, jobs):
    """The jobs of `steps` with this name. It may name a line of the plan, a run with its replicates, or one job."""
    jobs = [j for j in jobs if j.step in steps]
    alike = ([j for j in jobs if getattr(j, kind) == name] for kind in ("sweep", "family", "name"))
    return next(filter(None, alike), [])


def in_root(path):
    """`path` as the user knows it: relative to the repository where it lies inside."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def check_data(plan, labels, download=True):
    """Load each data set that the runs `labels` read once, before hours of work, and see whether the plan's values fit
    it. InputError: a line for each problem and the first run that has it; its kind is the first one's.

    download=False: a set that is not there yet is not fetched; returns the folders that it would be fetched to."""
    from lib import data
    known, problems, refused, missing = {}, {}, set(), set()

    def facts(train):
        values = {name: getattr(train.config, name, None) for name in ("dataset", *data.ALL_OPTIONS, "data_seed")}
        if data.DATASETS.get(values["dataset"]) == "official":
            del values["data_seed"]                         # each seed's parts are as large as the others'
        if (key := str(values)) not in known:
            folder = None if download else data.to_download(vars(train.config))
            missing.update([folder] if folder else [])
            known[key] = None if folder else data.check(train.config)
        return known[key]

    for job in plan.jobs:
        train = trained(job)
        if train is None or train.label in refused or not {train.label, job.label} & set(labels):
            continue
        try:
            job.config.check_with(job.upstream, facts(train))
        except InputError as error:
            refused.add(job.label)
            for line in str(error).splitlines():
                problems.setdefault(line, (job, error))
    if problems:
        lines = [f"{job.step}.{job.name}: {line}" for line, (job, _) in problems.items()]
        raise type(next(iter(problems.values()))[1])(in_lines(plan.file, lines))
    return sorted(missing)


def check_devices(plan, labels):
    """InputError where one of the runs `labels` asks for a device that this machine lacks."""
    for job in plan.jobs:
        if job.label in labels and getattr(job.config, "device", "auto") not in ("auto", "cpu"):
            from lib.diffusion.devices import pick_device  # torch takes seconds
            try:
                pick_device(job.config.device)
            except InputError as error:
                raise InputError(in_lines(plan.file, [f"{job.step}.{job.name}: {error}"])) from None


def trained(job):
    """The job that reads the real images that a job is about, None for one that is about several."""
    while job.step in COMPARED and job.step not in REAL:
        job = job.upstream[0]
    return job if job.step in REAL else None
