"""Where a network computes, and how fast it may: device, threads, precision, compilation."""
import contextlib
import importlib.util
import math
import time
import warnings

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
               and seldom gains anything. `fastest` finds out for a training.
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

    def __getattr__(self, name):            # all else is the network's: trained, classes, parameters()
        return getattr(self.model, name)

    def __str__(self):
        return called(self.precision, self.compiled)

    def __call__(self, x, t, y):
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.network(channels_last(x), t, y).float()


# ---------------------------------------------------------------- chosen by a trial
def called(precision, compiled):
    return f"{precision}, compiled {compiled}"


TRIALS = ("fp32", "off"), ("bf16", "off"), ("bf16", "default")      # the first is the measure of the others
WORTH = 600             # seconds: a shorter training does not pay for a trial, most of it compilation
WORTH_DRAWING = 120     # the same for images: compiled code is kept, so a plan's next run finds it in seconds
FASTER = 1.1            # times as fast as float32 that bfloat16 must be
LOSS_OFF, GRADIENT_OFF = 0.01, 0.05     # largest relative differences from float32; bfloat16 was off by 0.0003 and 0.01


def has_bfloat16():
    """Whether this CPU multiplies in bfloat16 (avx512_bf16 or AMX), as far as this version of torch can tell."""
    able = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def fastest(network, precision, compiled, gradient, updates, worth=WORTH):
    """The `Forward` for a training of so many updates, and {name: seconds of an update, or why it was refused}.

    precision, compiled: as for `Forward`, which decides unless both are auto and the CPU has bfloat16. Then three
    updates in float32 are timed, and if all would take more than `worth` seconds, three of each of TRIALS. Taken is the
    fastest whose first loss and gradient are close to those in float32. gradient(forward, k) gives the loss of batch k
    and its gradient, one vector; it may leave the weights' gradients behind. The weights keep their bits.
    """
    forward = Forward(network, precision, compiled)
    if not on_trial(forward, precision, compiled) or not has_bfloat16():
        return forward, {}
    with moved(network):
        forward, tried = Forward(network, *TRIALS[0]), {}
        try:
            exact, best = trial(forward, gradient)
        except torch.OutOfMemoryError:                  # the training makes its batch smaller; without a trial
            return forward, {}
        tried[str(forward)] = round(best, 4)
        if best * updates > worth:
            best /= FASTER
            for choice in TRIALS[1:]:
                try:
                    other = Forward(network, *choice)
                    answer, seconds = trial(other, gradient)
                except Exception as error:          # of the compiler, of any kind: there is none, or it fails
                    tried[called(*choice)] = f"it fails: {first_line(error)}"
                    continue
                tried[called(*choice)] = unlike(exact, answer) or round(seconds, 4)
                if seconds < best and not unlike(exact, answer):
                    forward, best = other, seconds
    return forward, tried


def fastest_drawing(network, precision, compiled, *, images, batch, image_shape, guidance, steps):
    """The `Forward` that draws so many images soonest, and what was tried, as `fastest` has them for a training.

    images: how many; batch: of them at once; guidance, steps: of `samplers.sample_steps`. Tried on noise.
    """
    size = min(batch, images) * (1 if guidance in (0, 1) else 2)        # twice: with and without the label
    device = next(network.parameters()).device

    @torch.no_grad()
    def answer(forward, k):
        x = torch.randn(size, *image_shape, generator=torch.Generator().manual_seed(0)).to(device)
        y = torch.arange(size, device=device) % network.num_classes
        output = forward(x, torch.zeros_like(y), y)
        return output.square().mean().item(), output.flatten()

    return fastest(network, precision, compiled, answer, steps * math.ceil(images / batch), WORTH_DRAWING)


def on_trial(forward, precision, compiled):
    """Whether a trial may decide: on a CPU, where nothing is asked for."""
    return (forward.device.type, precision, compiled) == ("cpu", "auto", "auto")


def as_before(network, precision, compiled, before, gradient):
    """The `Forward` of a training that resumes: a trial's choice `before` (precision, compiled) is kept, for the same
    bits. Where this machine can't do that, a warning says what it does instead."""
    forward = Forward(network, precision, compiled)
    if not on_trial(forward, precision, compiled) or (forward.precision, forward.compiled) == tuple(before):
        return forward
    reason = "this CPU has no bfloat16"
    if before[0] == "fp32" or has_bfloat16():
        try:
            kept = Forward(network, *before)
            with moved(network):
                gradient(kept, 0)
            return kept
        except Exception as error:                          # as in `fastest`
            reason, forward = first_line(error), Forward(network, before[0], "off")
    warnings.warn(f"the training began with {called(*before)} and resumes with {forward}: {reason}", stacklevel=4)
    return forward


def first_line(error):
    return str(error).strip().partition("\n")[0][:200]


def trial(forward, gradient):
    """The first loss and gradient, and the least seconds of the next three."""
    (loss, vector), seconds = gradient(forward, 0), []
    for k in (1, 2, 3):
        start = time.perf_counter()
        gradient(forward, k)
        seconds.append(time.perf_counter() - start)
    return (loss, vector), min(seconds)


def unlike(exact, other, gradient_off=GRADIENT_OFF):
    """Why (loss, gradient) are not close to those in float32; "" where they are."""
    (loss, vector), (other_loss, other_vector) = exact, other
    off = abs(other_loss / loss - 1), float((other_vector - vector).norm() / vector.norm())
    for name, value, most in zip(("loss", "gradient"), off, (LOSS_OFF, gradient_off), strict=True):
        if not value <= most:                       # a NaN is refused, too
            return f"its {name} is off by {value:.2g} of float32's, more than {most}"
    return ""


@contextlib.contextmanager
def moved(network):
    """The weights moved a little by chance, and put back bit for bit.

    A new network ends in zeros, which hide all that lies before them: its gradient is 0 there however it is computed.
    Dropout is off, as each way to compute draws other numbers.
    """
    kept, training = [p.detach().clone() for p in network.parameters()], network.training
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=g).to(p))
    network.train(not any(isinstance(m, torch.nn.Dropout) and m.p for m in network.modules()))
    try:
        yield
    finally:
        network.train(training).zero_grad()
        with torch.no_grad():
            for p, value in zip(network.parameters(), kept, strict=True):
                p.copy_(value)
