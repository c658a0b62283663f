"""The diffusion model: schedules, the forward process, samplers, the network and its training.

The accepted names stand here, without torch, so that a plan is checked before any heavy import.
"""
from lib import InputError

SCHEDULES = ("linear", "cosine", "sigmoid", "quadratic", "linear-unscaled")
TARGETS = ("eps", "x0", "v")
LOSS_WEIGHTS = ("simple", "min-snr", "vlb")
SAMPLERS = ("ancestral", "ancestral-large", "ddim", "dpm++2m", "heun")
SPACINGS = ("even", "quadratic", "log-snr")
X0_HANDLINGS = ("none", "clip", "dynamic")
OPTIMIZERS = ("adam", "muon")
PRECISIONS = ("auto", "fp32", "bf16")
COMPILED = ("auto", "off", "default", "reduce-overhead", "max-autotune-no-cudagraphs")     # torch.compile's modes
LEVELS = 8                      # of a network, at most
PATCHES = (1, 2, 4)             # sides of the squares of pixels that the network works on


def check_rungs(rungs, batch):
    """InputError unless each rung has at least a batch of images more than the one before it (the first: than 0)."""
    for before, rung in zip([0, *rungs], rungs, strict=False):
        if rung - before < batch:
            raise InputError(f"rungs={list(rungs)}: expected rising numbers of images, each at least batch={batch} "
                             "above the one before it")


def known(parameter, name, accepted):
    """`name`, if it is one of the accepted; else InputError, such as schedule='cosin': expected one of 'linear', ..."""
    if name not in accepted:
        raise InputError(f"{parameter}={name!r}: expected one of {', '.join(map(repr, accepted))}")
    return name
