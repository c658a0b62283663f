"""Several processes, one GPU each (or the CPU's cores), share a training's batches or a generation's images.

A step is the same function of (seed, step) as in one process: each process computes its part of the batch, gradients
are added, and all make the same update. So the weights are those of one process but for the order of float32 sums.
"""
import collections
import contextlib
import copy
import datetime
import os
import queue
import sys
import tempfile
import threading
import time

import torch
import torch.distributed as dist
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from lib import InputError, samplers, training
from lib.devices import Forward

PATIENCE = datetime.timedelta(minutes=15)       # for a process that compiles longer than the others


class Failed(RuntimeError):
    """One of the processes ended with an error, or was killed."""


class Member(training.Alone):
    """One of `size` processes that share the steps of a training; stop_at: a number of steps, shared with all."""

    def __init__(self, rank, size, stop_at):
        self.rank, self.size, self.first, self.stop_at = rank, size, rank == 0, stop_at

    def share(self, batch):
        return slice(self.rank * batch // self.size, (self.rank + 1) * batch // self.size)

    def add(self, tensors):
        flat = _flatten_dense_tensors(tensors)
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, _unflatten_dense_tensors(flat, tensors), strict=True):
            tensor.copy_(total)

    def in_turn(self, load):
        if self.first:
            found = load()
        dist.barrier()
        return found if self.first else load()

    @contextlib.contextmanager
    def asked_to_stop(self):
        with training.stop_asked():             # signals are for the process that started this one
            yield lambda done: done >= self.stop_at.value


# ---------------------------------------------------------------- in a process of the team
def member(rank, size, device, folder, work, stop_at, found, arguments):
    """Join the team, do work(member, device, *arguments), a generator; what it yields goes to the queue `found`."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    try:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
        if device == "cuda":
            torch.cuda.set_device(rank)
        elif sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group("nccl" if device == "cuda" else "gloo", rank=rank, world_size=size, timeout=PATIENCE,
                                init_method=f"file://{folder}/meeting")
        place = torch.device(device, rank if device == "cuda" else 0)
        for item in work(Member(rank, size, stop_at), place, *arguments):
            found.put(("item", item))
        found.put(("end", rank))
        dist.barrier()
        dist.destroy_process_group()
    except KeyboardInterrupt as stopped:
        found.put(("stopped", str(stopped)))
    except Exception as error:
        found.put(("error", error))


def end_with(parent):
    """End this process when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def train_part(member, device, model, schedule, images, labels, options):
    """The member's part of a training; the first one yields the records and leaves the weights in shared memory."""
    mine = copy.deepcopy(model).to(device, memory_format=torch.channels_last)
    for record in training.train_ddpm(mine, schedule, images, labels, team=member, **options):
        if member.first:
            yield record
    if member.first:
        with torch.no_grad():
            for shared, p in zip(model.parameters(), mine.parameters(), strict=True):
                shared.copy_(p)


def generate_part(member, device, model, precision, compiled, schedule, labels, image_shape, batch, options):
    """Every size-th batch of the images; yields (number of the batch, images)."""
    mine = Forward(copy.deepcopy(model).to(device, memory_format=torch.channels_last), precision, compiled)
    for k, numbers in list(enumerate(torch.arange(len(labels)).split(batch)))[member.rank::member.size]:
        (part,) = samplers.generate(mine, schedule, labels[numbers], image_shape, numbers=numbers.tolist(),
                                    batch=batch, device=device, **options)
        yield k, part["images"].numpy()


# ---------------------------------------------------------------- in the process that starts the team
def together(size, device, work, arguments, stop_at):
    """Yield what `size` processes yield in work(member, device, *arguments). All end when one fails (Failed)."""
    context = torch.multiprocessing.get_context("spawn")
    found = context.Queue()
    with tempfile.TemporaryDirectory(prefix="team-") as folder:
        processes = [context.Process(target=member, daemon=True, args=(
            rank, size, device, folder, work, stop_at, found, arguments)) for rank in range(size)]
        try:
            for process in processes:
                process.start()
            ended = 0
            while ended < size:
                kind = item = ""
                with contextlib.suppress(queue.Empty):
                    kind, item = found.get(timeout=0.5)
                if kind in ("error", ""):
                    time.sleep(1 if kind else 0)        # the others notice a killed one before we do
                    for rank, process in enumerate(processes):
                        if process.exitcode:
                            raise Failed(f"process {rank} of {size} was killed (exit code {process.exitcode}); the "
                                         "next call goes on from the last checkpoint")
                if kind == "error":
                    raise item
                if kind == "stopped":
                    raise KeyboardInterrupt(item)
                if kind == "item":
                    yield item
                ended += kind == "end"
        finally:
            for process in processes:
                process.join(0.5 if sys.exc_info()[0] else 30)
                if process.is_alive():
                    process.terminate()
                    process.join(5)
                if process.is_alive():
                    process.kill()


def check_gpus(gpus, device):
    """InputError for more processes than GPUs."""
    if device.type == "cuda" and gpus > torch.cuda.device_count():
        raise InputError(f"gpus={gpus}: expected at most {torch.cuda.device_count()}, those of this machine")


def train_ddpm(model, schedule, images, labels, *, gpus=1, **options):
    """`training.train_ddpm` by `gpus` processes; batch, options and records are those of one. InputError for more
    processes than GPUs (on a CPU any number goes), Failed when one of them is killed."""
    if gpus == 1:
        yield from training.train_ddpm(model, schedule, images, labels, **options)
        return
    device = next(model.parameters()).device
    check_gpus(gpus, device)
    shared = copy.deepcopy(model).cpu().share_memory()
    stop_at = torch.multiprocessing.get_context("spawn").Value("q", 2**62)
    ahead = 2 * options.get("log_every", 20)        # no process is further ahead of the last record than this
    arguments = (shared, schedule, images.cpu().share_memory_(), labels.cpu().share_memory_(), options)
    done = 0
    with training.stop_asked() as asked:
        records = together(gpus, device.type, train_part, arguments, stop_at)
        try:
            for record in records:
                done = record["done"]
                yield record
                if asked.is_set():
                    stop_at.value = min(stop_at.value, done + ahead)
        except GeneratorExit:
            stop_at.value = done + ahead                # so that the state is written
            with contextlib.suppress(KeyboardInterrupt):
                collections.deque(records, maxlen=0)
            raise
    model.load_state_dict(shared.state_dict())
    model.trained = (schedule, options.get("target", "eps"))
    model.eval()


def generate(model, schedule, labels, image_shape, *, gpus=1, precision="auto", compiled="auto", batch=250, **options):
    """`samplers.generate` by `gpus` processes: the same images, whatever their number; yields them in order."""
    device = next(model.parameters()).device
    if gpus == 1:
        yield from samplers.generate(Forward(model, precision, compiled), schedule, labels, image_shape, batch=batch,
                                     device=device, **options)
        return
    check_gpus(gpus, device)
    arguments = (copy.deepcopy(model).cpu(), precision, compiled, schedule, labels, image_shape, batch, options)
    stop_at = torch.multiprocessing.get_context("spawn").Value("q", 2**62)
    waiting, due, done, start = {}, 0, 0, time.monotonic()
    for k, images in together(gpus, device.type, generate_part, arguments, stop_at):
        waiting[k] = torch.from_numpy(images)
        while due in waiting:
            done += len(waiting[due])
            yield {"done": done, "images": waiting.pop(due),
                   "images_per_second": done / (time.monotonic() - start)}
            due += 1
