"""Training loops, as generators of small records: display and logging belong to the caller.

All randomness is a function of (seed, purpose, step), never of hidden generator state. So a training that was stopped
and goes on from its checkpoint ends with the same weights as one that never stopped (same versions, device, threads).
"""
import contextlib
import math
import signal
import threading
import time
import typing
import warnings

import torch

from lib import InputError
from lib.data.images import to_float
from lib.diffusion.checkpoints import State
from lib.diffusion.devices import Forward
from lib.diffusion.process import denoising_loss, loss_weights, stratified_t
from lib.seeding import PassOrder, seed_dropout, step_generator


class Diverged(RuntimeError):
    """The loss is not finite."""


def warmup_cosine(step, steps, warmup):
    """Learning rate factor: up in a line over `warmup` steps, then down a half cosine to 0 at `steps`."""
    return min(1.0, (step + 1) / max(warmup, 1)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def ema_decay(step, batch, halflife_images):
    """Decay of the weights' average per step: the half-life is in images; early steps average over fewer."""
    return min(0.5 ** (batch / halflife_images), (1 + step) / (10 + step))


@contextlib.contextmanager
def stop_asked():
    """While inside, Ctrl-C and SIGTERM only set the yielded event, so that a loop can end between two steps.

    Signals reach the main thread only; in another one nothing changes.
    """
    asked, before = threading.Event(), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda *_: asked.set()) or signal.SIG_DFL
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Alone:
    """One process that does all of a step's work; `parallel.Member` is one of several that share it."""

    first = True                                # whether it is the one that writes files

    def share(self, batch):
        """Which images of a batch are its own."""
        return slice(0, batch)

    def add(self, tensors):
        """Replace each tensor by its sum over the processes."""

    def in_turn(self, load):
        """load(), in the first process before the others."""
        return load()

    @contextlib.contextmanager
    def asked_to_stop(self):
        """Yields a function of the number of steps done: whether to stop now. All processes stop at the same step."""
        with stop_asked() as asked:
            yield lambda done: asked.is_set()


# ---------------------------------------------------------------- diffusion model
BUCKETS = 10    # parts of 0..T-1 whose errors the history tells apart


class Drawn(typing.NamedTuple):
    """What is random in a step, of own images: x0 and noise (B, C, H, W) on the device; y, t (B,) on the CPU."""

    x0: torch.Tensor
    eps: torch.Tensor
    y: torch.Tensor
    t: torch.Tensor
    dropout: int        # seed of the hidden generator


class Draws:
    """draws(step) is the step-th batch with all its randomness, a function of (seed, step) alone; own: a part of it."""

    def __init__(self, images, labels, T, model, batch, seed, label_drop, flip, own=slice(None)):
        self.device = next(model.parameters()).device
        self.images, self.labels, self.T, self.null = images.to(self.device), labels.cpu(), T, model.num_classes
        self.batch, self.seed, self.label_drop, self.flip = batch, seed, label_drop, flip
        self.order, self.own = PassOrder(len(images), batch, seed), own

    def __call__(self, step):
        g, index = step_generator(self.seed, "step", step), self.order(step)
        y = torch.where(torch.rand(self.batch, generator=g) < self.label_drop, self.null, self.labels[index])
        t = stratified_t(self.batch, self.T, g)
        x0 = to_float(self.images[index[self.own].to(self.device)])
        shape = (self.batch, *x0.shape[1:])
        if self.device.type == "cuda":                 # one CPU core draws too slowly for a GPU
            on_device = torch.Generator(self.device).manual_seed(int(torch.randint(2**31, (), generator=g)))
            eps = torch.randn(shape, generator=on_device, device=self.device)[self.own]
        else:
            eps = torch.randn(shape, generator=g)[self.own].to(self.device)
        dropout = int(torch.randint(2**31, (), generator=g))
        if self.flip:
            mirrored = (torch.rand(self.batch, generator=g) < 0.5)[self.own].view(-1, 1, 1, 1).to(self.device)
            x0 = torch.where(mirrored, x0.flip(3), x0)
        return Drawn(x0, eps, y[self.own], t[self.own], dropout)


class Gradients:
    """gradients(optimizer, drawn) puts the gradient of the mean loss over `batch` images, those of all processes, into
    the weights, `at_once` images at a time.

    Returns the loss and the unweighted errors of its own images, on the device. Where memory is too small, `at_once` is
    halved.
    """

    def __init__(self, forward, schedule, target, loss_weight, batch, at_once):
        self.forward, self.schedule, self.target = forward, schedule, target
        self.batch, self.at_once = batch, at_once
        self.weight_of_t = loss_weights(schedule, target, loss_weight).float()

    def __call__(self, optimizer, drawn):
        while True:
            optimizer.zero_grad(set_to_none=True)
            seed_dropout(drawn.dropout, drawn.x0.device)
            try:
                parts = [self.part(drawn, slice(first, first + self.at_once))
                         for first in range(0, len(drawn.t), self.at_once)]
                return torch.stack([loss for loss, _ in parts]).sum(), torch.cat([errors for _, errors in parts])
            except torch.OutOfMemoryError:
                if self.at_once == 1:
                    raise
                self.at_once = math.ceil(self.at_once / 2)
            warnings.warn(f"the device's memory is too small: {self.at_once} images at once from here on "
                          f"(micro_batch={self.at_once} says so from the start)", stacklevel=3)

    def part(self, drawn, cut):
        x0, t = drawn.x0[cut], drawn.t[cut]
        errors = denoising_loss(self.forward, self.schedule, x0, drawn.y[cut].to(x0.device), t, drawn.eps[cut],
                                self.target)
        loss = (errors * self.weight_of_t[t].to(x0.device)).sum() / self.batch
        loss.backward()
        return loss.detach(), errors.detach()


class Recent:
    """What happened since the last record; nothing waits for the device before it is asked for."""

    def __init__(self, saved=None):
        """saved: what `tensors` gave, to go on from there."""
        self.losses, self.norms, self.by_t = (
            list(saved[name]) if saved else [] for name in ("losses", "norms", "by_t"))

    def add(self, loss, norm, by_t):
        for known, new in ((self.losses, loss), (self.norms, norm), (self.by_t, by_t)):
            known.append(new.detach())

    def tensors(self):
        return {name: torch.stack(known) for name, known in vars(self).items() if known}

    def check(self, words):
        """Diverged, with `words`, unless all losses and norms are finite."""
        if self.losses and not torch.isfinite(torch.stack(self.losses + self.norms)).all():
            raise Diverged(f"loss or gradient is not finite {words}: lower lr or grad_clip")

    def means(self):
        total, count = torch.stack(self.by_t).sum(0).tolist()
        return {"loss": float(torch.stack(self.losses).mean()),
                **{f"error_{k}": total[k] / count[k] if count[k] else None for k in range(BUCKETS)},
                "grad_norm": float(torch.stack(self.norms).mean())}


def sums_by_t(errors, t, T):
    """Sum of the errors and their number in each of BUCKETS equal parts of 0..T-1: (2, BUCKETS)."""
    sums = torch.zeros(2, BUCKETS, device=errors.device)
    return sums.index_add_(1, (t * BUCKETS // T).to(errors.device), torch.stack([errors, torch.ones_like(errors)]))


def train_ddpm(model, schedule, images, labels, *, steps, batch, lr, target="eps", loss_weight="simple",
               warmup_steps=100, grad_clip=1.0, label_drop=0.1, ema_halflife_images=4400, flip=False, micro_batch=0,
               precision="auto", compiled="auto", seed=0, checkpoint=None, checkpoint_seconds=60,
               checkpoint_images=10_000_000, log_every=20, team=None):
    """Train `model` to denoise (Ho et al. 2020, algorithm 1) and leave its averaged weights in it.

    images: (N, C, H, W) uint8; labels: (N,) int64. The images are copied to the model's device once, as uint8.
    Labels become the null label with probability `label_drop` (classifier-free guidance); `flip` mirrors half of the
    images. Adam, gradients clipped to norm `grad_clip`; the exponential average of the weights replaces them.
    micro_batch: images at once (0: the whole batch); the gradients of a batch's parts are added. Where the device's
    memory is too small, the part is halved and the step made again. precision, compiled: see `devices.Forward`.
    checkpoint: file of the training state; written every `checkpoint_seconds` or `checkpoint_images`, and when the
    training is stopped (Ctrl-C, SIGTERM, the generator's close); read at the start if it is there.
    Yields {done, images, loss, error_0.., grad_norm, seconds, images_per_second} every `log_every` steps, loss and norm
    averaged over them; error_k is the unweighted error in the k-th of BUCKETS equal parts of 0..T-1 (None where no t
    was drawn). A training that goes on first yields the records of its earlier part again. InputError for labels that
    the model does not know, an unknown target, weight, precision or mode.
    Raises Diverged when loss or gradient are not finite (looked at for each record and before each checkpoint, so that
    a state on the disk is sound), and KeyboardInterrupt when a signal stopped it.
    team: the processes that share each batch, see lib.parallel; all yield the same records.
    """
    team = team or Alone()
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < model.num_classes:
        raise InputError(f"labels from {int(labels.min())} to {int(labels.max())}: "
                         f"expected 0 to {model.num_classes - 1}")
    forward, own = Forward(model, precision, compiled), team.share(batch)
    gradients = Gradients(forward, schedule, target, loss_weight, batch, micro_batch or own.stop - own.start)
    draw = Draws(images, labels, schedule.T, model, batch, seed, label_drop, flip, own)
    model.trained = (schedule, target)
    weights = dict(model.named_parameters())
    ema = {name: p.detach().clone() for name, p in weights.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=lr, fused=draw.device.type in ("cpu", "cuda"))
    state = State(checkpoint) if checkpoint else None
    first, spent, records, others = (0, 0.0, [], {}) if state is None else team.in_turn(
        lambda: state.load(model, ema, optimizer))
    yield from records
    model.train()
    done, recent, start = first, Recent({k: v.to(draw.device) for k, v in others.items()}), time.monotonic()
    saved = {"step": first, "at": start}

    def check():
        kept = f"; the state of step {saved['step']} is kept" if saved["step"] else ""
        recent.check(f"by step {done} (lr {lr}){kept}")

    def save():
        check()
        if team.first:
            state.save(model, ema, optimizer, done, spent + time.monotonic() - start, records, recent.tensors())
        saved.update(step=done, at=time.monotonic())

    with team.asked_to_stop() as stop:
        try:
            for step in range(first, steps):
                drawn = draw(step)
                loss, errors = gradients(optimizer, drawn)
                by_t = sums_by_t(errors, drawn.t, schedule.T)
                team.add([p.grad for p in weights.values()] + [loss, by_t])
                norm = torch.nn.utils.clip_grad_norm_(weights.values(), grad_clip)
                for group in optimizer.param_groups:
                    group["lr"] = lr * warmup_cosine(step, steps, warmup_steps)
                optimizer.step()
                torch._foreach_lerp_(list(ema.values()), [p.detach() for p in weights.values()],
                                     1 - ema_decay(step, batch, ema_halflife_images))
                recent.add(loss, norm, by_t)
                done = step + 1
                if done % log_every == 0 or done == steps:
                    check()
                    seconds = time.monotonic() - start
                    records.append({"done": done, "images": done * batch} | recent.means() | {
                        "seconds": round(spent + seconds, 2), "images_per_second": (done - first) * batch / seconds})
                    recent = Recent()
                    yield records[-1]
                due = (time.monotonic() - saved["at"] > checkpoint_seconds
                       or (done - saved["step"]) * batch >= checkpoint_images)
                stopping = stop(done)
                if state and (stopping or due and done < steps):
                    save()
                if stopping:
                    raise KeyboardInterrupt(f"training stopped after step {done} of {steps}")
        except GeneratorExit:
            if state and saved["step"] < done:
                save()
            raise
    with torch.no_grad():
        for name, p in weights.items():
            p.copy_(ema[name])
    model.eval()
