"""One GPU serves one run at a time, and several GPUs serve several runs."""
import contextlib
import functools
import getpass
import itertools
import os
import subprocess
import tempfile
import time
from pathlib import Path

STEPS = ("train", "generate", "external", "augment", "dose")        # the steps that take one, where there is one


@functools.lru_cache
def names():
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        listed = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
        return [name for name in itertools.takewhile(lambda name: not name.startswith("-"), listed) if name]   # as CUDA
    try:
        found = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number in range(sum(line.startswith(b"GPU ") for line in found.stdout.splitlines()))]


@contextlib.contextmanager
def own(step):
    """While inside, a GPU is this run's alone, if its step takes one: CUDA_VISIBLE_DEVICES names it. Waits for it.

    $DREAMING_GPUS names those to take from. The front door sets it; a cluster hands GPUs out itself, so there it is not
    set and nothing happens. A lock that a killed run held is free at once.
    """
    known = [name for name in os.environ.get("DREAMING_GPUS", "").split(",") if name]
    if not known or step not in STEPS:
        yield
        return
    from filelock import FileLock, Timeout
    folder = Path(tempfile.gettempdir()) / f"dreaming-data-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    locks = {name: FileLock(str(folder / name)) for name in known}

    def free(name):
        with contextlib.suppress(Timeout):
            return locks[name].acquire(timeout=0)

    while not (name := next(filter(free, known), None)):
        time.sleep(0.5)
    try:
        with visible(name):
            yield
    finally:
        locks[name].release()


@contextlib.contextmanager
def visible(name):
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = name
    try:
        yield
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES") if before is None else os.environ.update(CUDA_VISIBLE_DEVICES=before)
