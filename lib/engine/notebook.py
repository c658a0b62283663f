"""How a step's notebook begins: its checked parameters, its run folder, and the finished runs that it reads."""
import os

from lib.engine import parameters
from lib.engine.kernel import INTERACTIVE, check_interactive, ensure
from lib.engine.parameters import READS, STEPS
from lib.engine.stale import code_hash
from lib.report import runs


def begin(step, namespace):
    """Read the parameters from the notebook's `globals()`, make sure of the runs that they name, open the run folder.

    Returns (config, run, read): the frozen config, the open `Run`, and the finished runs that the parameters name, in
    their order. An interactive run that is not there yet is made first, with its defaults. InputError for a wrong
    parameter, for a run of a plan that is not finished, and for a plan's folder that no plan asked to write into.
    """
    config = parameters.read(STEPS[step].config, namespace)
    own = runs.run_at(config.run_dir or f"{INTERACTIVE}/{step}/default")
    if os.environ.get("DREAMING_RUN_DIR") != config.run_dir:
        check_interactive(own, step)
    named = [getattr(config, name, []) for name in (*READS, "runs")]
    folders = [folder for names in named for folder in ([names] if isinstance(names, str) else names)]
    for folder in reversed(folders):
        ensure(folder)
    read = [runs.load(folder) for folder in folders]
    trained = {r.config["train_run"]: None for r in read if "train_run" in r.config} if step != "report" else {}
    run = runs.start(step, config, upstream=[*(runs.load(folder) for folder in trained), *read], code=code_hash(step))
    return config, run, read
