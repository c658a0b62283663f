"""How a step's notebook begins: its checked parameters, its run folder, and the finished runs that it reads.

Also the switch `quick`, and the line that says how far a page is.
"""
import dataclasses
import os
import re
from pathlib import Path

from IPython import get_ipython
from safetensors import SafetensorError

from lib import ROOT
from lib.engine import parameters
from lib.engine.kernel import INTERACTIVE, check_interactive, ensure
from lib.engine.parameters import QUICK, READS, STEPS
from lib.engine.stale import record_of
from lib.report import runs


def begin(step, namespace):
    """Read the parameters from the notebook's `globals()`, make sure of the runs that they name, open the run folder.

    Returns (config, run, read): the frozen config, the open `Run`, and the finished runs that the parameters name, in
    their order. An interactive run that is not there yet is made first, with its defaults; with `quick`, smaller ones.
    InputError for a wrong parameter, for a run of a plan that is not finished, and for a plan's folder that no plan
    asked to write into.
    """
    follow(step)
    config = parameters.read(STEPS[step].config, namespace)
    own = runs.run_at(config.run_dir or f"{INTERACTIVE}/{step}/default")
    if os.environ.get("DREAMING_RUN_DIR") != config.run_dir:
        check_interactive(own, step)
    if quick() and not config.run_dir:
        chosen = parameters.injected(namespace)             # all of them where run_interactive passes the defaults on
        config = quicker(step, config, chosen=() if chosen >= set(vars(config)) else chosen)
    elif quick() and "DREAMING_RUN_DIR" not in os.environ:
        print("quick is on (00_start), and this page keeps its values, as its run_dir is set")
    named = [getattr(config, name, []) for name in (*READS, "runs")]
    folders = [folder for names in named for folder in ([names] if isinstance(names, str) else names)]
    for folder in reversed(folders):
        ensure(folder)
    whole = step in ("augment", "dose")                     # they read the images themselves
    read = [runs.load(folder, whole) for folder in folders]
    trained = {r.config["train_run"]: None for r in read if "train_run" in r.config} if step != "report" else {}
    upstream = [*(runs.load(folder) for folder in trained), *read]
    for made in upstream:
        say_if_quick(made)
    kept = os.environ.get("DREAMING_CODE")                  # of the moment at which this kernel was started
    code = runs.read_json(kept) if kept else record_of(step, dataclasses.asdict(config))
    run = runs.start(step, config, upstream, code)
    speak_plainly(run)
    return config, run, read


# ---------------------------------------------------------------- quick
def quick(on=None):
    """Whether interactive pages take smaller numbers than their defaults; `on` switches that. Lasts until switched."""
    file = ROOT / INTERACTIVE / "quick"
    if on:
        runs.write_atomic(file, "made by notebooks/00_start.ipynb: pages use the smaller numbers of QUICK\n")
    elif on is not None:
        file.unlink(missing_ok=True)
    return file.exists()


def quicker(step, config, chosen=()):
    """`config` with the smaller numbers of QUICK where it has a default that nobody has `chosen`; prints which."""
    smaller = {name: (default, value) for name, (default, value) in QUICK.get(step, {}).items()
               if getattr(config, name) == default and name not in chosen}
    if smaller:
        told = ", ".join(f"{name} = {value} instead of {default}" for name, (default, value) in smaller.items())
        print(f"quick is on (00_start): {told}")
    return dataclasses.replace(config, **{name: value for name, (_, value) in smaller.items()})


def say_if_quick(run):
    """Print which of the values of an interactive run that this page reads are quick's."""
    values = [f"{name} = {value}" for name, (_, value) in QUICK.get(run.step, {}).items()
              if run.name.startswith("interactive/") and run.config.get(name) == value]
    if values:
        print(f"made with quick: {run.name} ({', '.join(values)})")


# ---------------------------------------------------------------- errors in one sentence
def speak_plainly(run):
    """In JupyterLab, let an interrupt or a missing file of `run` end a cell in one sentence, without a traceback."""
    shell = get_ipython()
    if not in_jupyterlab(shell):
        return

    def say(shell, kind, error, trace, tb_offset=None):
        if sentence := plain_sentence(error, run):
            shell._showtraceback(kind, error, [sentence])
        else:
            shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

    shell.set_custom_exc((KeyboardInterrupt, OSError, SafetensorError), say)


def plain_sentence(error, run):
    """What a student does about an error in one sentence, "" where that is not known."""
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted: run this cell again to go on."
    if not run.folder.exists():
        return f"The folder reports/runs/{run.name} is gone: run the page again from its first cell."
    file = Path(getattr(error, "filename", None) or "")
    if isinstance(error, FileNotFoundError) and run.folder in file.parents:
        return f"{file.name} is not there yet: the cell above that writes it has not finished; run that one first."
    return ""


def in_jupyterlab(shell):
    """Whether a front end runs this page, which tells the kernel the id of each cell; papermill does not."""
    return bool(shell and getattr(shell, "get_parent", dict)().get("metadata", {}).get("cellId"))


# ---------------------------------------------------------------- how far a page is
followed = {}       # {event: the function that hears it}, of the page that runs in this kernel


def follow(step):
    """In JupyterLab, show one line that says which section of the page runs, or that an error stopped it."""
    shell = get_ipython()
    if not in_jupyterlab(shell):
        return
    names, section = [], {}
    cells = parameters.cells(STEPS[step].file)
    for cell in cells:
        names += re.findall(r"(?m)^## (.+)", cell.source) if cell.cell_type == "markdown" else []
        section[cell.id] = len(names)
    last, line = [cell.id for cell in cells if cell.cell_type == "code"][-1], runs.Line()

    def before(info):
        if number := section.get(info.cell_id):
            line.show(f"section {number} of {len(names)}: {names[number - 1]} ...")

    def after(result):
        number = section.get(result.info.cell_id)
        if number is not None and not result.success:
            place = f"section {number} of {len(names)}: {names[number - 1]}" if number else "before the first section"
            line.show(f"{place}: stopped by an error")
        elif result.info.cell_id == last:
            line.show(f"all {len(names)} sections have run")

    for event, call in {"pre_run_cell": before, "post_run_cell": after}.items():
        if event in followed:
            shell.events.unregister(event, followed[event])
        shell.events.register(event, call)
        followed[event] = call
    line.show(f"beginning: {len(names)} sections follow")
