"""Where a network computes, and how fast it may: device, threads, precision, compilation."""
import importlib.util

import torch

from lib import InputError
from lib.diffusion import COMPILED, PRECISIONS, known


def pick_device(name="auto"):
    """'auto' is CUDA where there is one, else the CPU. InputError for a device that this machine lacks."""
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if here["cuda"] else "cpu")
    if not here.get(name):
        raise InputError(f"device={name!r}: expected 'auto' or one of this machine's: "
                         + ", ".join(repr(n) for n, there in here.items() if there))
    return torch.device(name)


def limit_threads(model):
    """One CPU thread for networks under a million weights: their layers are too small to share.

    Two threads on two virtual cores: 0.2 to 1.4 times as fast. Several runs side by side use the cores better.
    """
    if sum(p.numel() for p in model.parameters()) < 1_000_000:
        torch.set_num_threads(1)


def channels_last(x):
    """NHWC memory: 7 % faster convolutions on CPUs, more on GPUs. The numbers are the same."""
    return x.contiguous(memory_format=torch.channels_last)


class Forward:
    """A network's forward pass, (x, t, y) -> float32 answer like x, as fast as its device allows.

    precision  fp32; bf16 is autocast: convolutions and products in bfloat16, weights and norms in float32; auto is bf16
               on a GPU that computes in it (compute capability 8, from 2020 on), else fp32: on a CPU without matrix
               units bf16 takes twice as long, and fp16 a hundred times.
    compiled   off, or a mode of torch.compile; auto is its default mode on a GPU, else off: on a CPU it takes minutes
               and gains nothing.
    `precision` and `compiled` then say what was chosen. InputError for another name.
    """

    def __init__(self, model, precision="auto", compiled="auto"):
        known("precision", precision, PRECISIONS)
        known("compiled", compiled, COMPILED)
        self.device = next(model.parameters()).device
        gpu = self.device.type == "cuda"
        if precision == "auto":
            precision = "bf16" if gpu and torch.cuda.get_device_capability(self.device) >= (8, 0) else "fp32"
        if compiled == "auto":
            compiled = "default" if gpu and importlib.util.find_spec("triton") else "off"
        self.model, self.precision, self.compiled = model, precision, compiled
        self.network = model if compiled == "off" else torch.compile(model, mode=compiled)

    @property
    def num_classes(self):
        return self.model.num_classes

    @property
    def trained(self):
        return self.model.trained

    def __call__(self, x, t, y):
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.network(channels_last(x), t, y).float()
