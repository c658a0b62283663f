"""How a step's notebook begins: its checked parameters, its run folder, and the finished runs that it reads."""

from lib.engine import parameters
from lib.engine.parameters import STEPS
from lib.engine.plan import READS, ensure
from lib.report import runs


def begin(step, namespace):
    """Read the parameters from the notebook's `globals()`, make sure of the runs that they name, open the run folder.

    Returns (config, run, read): the frozen config, the open `Run`, and the finished runs that the parameters name, in
    their order. An interactive run that is not there yet is made first, with its defaults. InputError for a wrong
    parameter and for a run of a plan that is not finished.
    """
    config = parameters.read(STEPS[step].config, namespace)
    named = [getattr(config, name, []) for name in (*READS, "runs")]
    folders = [folder for names in named for folder in ([names] if isinstance(names, str) else names)]
    for folder in reversed(folders):
        ensure(folder)
    read = [runs.load(folder) for folder in folders]
    trained = {r.config["train_run"]: None for r in read if "train_run" in r.config} if step != "report" else {}
    run = runs.start(step, config, upstream=[*(runs.load(folder) for folder in trained), *read])
    return config, run, read
