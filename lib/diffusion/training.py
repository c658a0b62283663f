"""Training the network: Ho et al. 2020's algorithm 1 as a loop (`updates`), and `train_ddpm`, which makes it resumable.

One training may leave a network at each of several budgets (`rungs`): from a trunk at a constant learning rate branches
a short cool-down to each (Hu et al. 2024, arXiv 2404.06395).

All randomness is a function of (seed, step), never of hidden generator state. So a training that was stopped and goes
on from its checkpoint ends with the same weights as one that never stopped (same versions, device, threads).
"""
import copy
import dataclasses
import functools
import itertools
import json
import math
import time
import typing
import warnings

import torch

from lib import InputError
from lib.data.images import to_float
from lib.diffusion import check_rungs
from lib.diffusion.checkpoints import State, pack, save_model, unpack
from lib.diffusion.devices import as_before, fastest
from lib.diffusion.optimizers import make_optimizer, scale_lr
from lib.diffusion.process import denoising_loss, loss_weights, stratified_t
from lib.processes import stop_asked
from lib.seeding import PassOrder, seed_dropout, step_generator

COOLDOWN = 0.2  # share of a rung's images in which the learning rate falls to 0
BUCKETS = 10    # parts of 0..T-1 whose errors the history tells apart


class Diverged(RuntimeError):
    """The loss is not finite."""


# ---------------------------------------------------------------- the parts of an update
class Draws:
    """draws(step) is all that is random in an update, x0, y, t, eps: a function of (seed, step) alone.

    x0, eps: (batch, C, H, W), images in [-1, 1] and standard normal noise; y: (batch,) int64; all on the network's
    device. t: (batch,) int64 in 0..T-1, stratified, on the CPU. Labels become the null label with probability
    `label_drop` (classifier-free guidance: Ho & Salimans 2022, algorithm 1); `flip` mirrors half of the images.
    It also seeds the hidden generator that dropout draws from.
    """

    def __init__(self, network, schedule, images, labels, *, batch, seed=0, label_drop=0.1, flip=False):
        self.device = next(network.parameters()).device
        self.images, self.labels = images.to(self.device), labels.cpu()        # uint8, copied to the device once
        self.T, self.null = schedule.T, network.num_classes
        self.batch, self.seed, self.label_drop, self.flip = batch, seed, label_drop, flip
        self.order = PassOrder(len(images), batch, seed)

    def __call__(self, step):
        g, index = step_generator(self.seed, "step", step), self.order(step)
        y = torch.where(torch.rand(self.batch, generator=g) < self.label_drop, self.null, self.labels[index])
        t = stratified_t(self.batch, self.T, g)
        x0 = to_float(self.images[index.to(self.device)])
        if self.device.type == "cuda":                 # one CPU core draws too slowly for a GPU
            on_device = torch.Generator(self.device).manual_seed(int(torch.randint(2**31, (), generator=g)))
            eps = torch.randn(x0.shape, generator=on_device, device=self.device)
        else:
            eps = torch.randn(x0.shape, generator=g).to(self.device)
        seed_dropout(int(torch.randint(2**31, (), generator=g)), self.device)
        if self.flip:
            mirrored = (torch.rand(self.batch, generator=g) < 0.5).view(-1, 1, 1, 1).to(self.device)
            x0 = torch.where(mirrored, x0.flip(3), x0)
        return x0, y.to(self.device), t, eps


def warmup_cosine(step, steps, warmup):
    """Learning rate factor: up in a line over `warmup` steps, then down a half cosine to 0 at `steps`."""
    return min(1.0, (step + 1) / max(warmup, 1)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def warmup_constant(step, warmup):
    """Learning rate factor of a trunk: up in a line over `warmup` steps, then 1."""
    return min(1.0, (step + 1) / max(warmup, 1))


def cool_down(step, first, last, warmup):
    """Learning rate factor of a cool-down: down from the trunk's to 0 at `last`, as 1 - sqrt (Hägele et al. 2024,
    arXiv 2405.18392: lower losses than a line, as low as a cosine's)."""
    return warmup_constant(step, warmup) * (1 - math.sqrt((step - first) / (last - first)))


@dataclasses.dataclass(frozen=True)
class Part:
    """Steps `first` to `last` - 1 of a training. rate: step -> factor of the learning rates; halflife: of the weights'
    average, in images; rung: images of the network that it leaves, 0 if it leaves none."""

    first: int
    last: int
    rate: typing.Callable
    halflife: float
    rung: int = 0

    def __len__(self):
        return self.last - self.first


def parts_of(*, steps, batch, rungs=(), warmup_steps=100, ema_halflife_images=4400):
    """The Parts of a training, in their order; their lengths add up to its updates.

    Without rungs one part of `steps`. With rungs a stretch of the trunk and a cool-down for each: the trunk resumes
    where the cool-down left it, so the path to each rung has as many images as its name says, to half a batch, COOLDOWN
    of them in its cool-down; `steps` is not used. In a cool-down the average has a half-life of at most a tenth of it,
    so that it forgets the trunk.
    """
    if not rungs:
        cosine = functools.partial(warmup_cosine, steps=steps, warmup=warmup_steps)
        return [Part(0, steps, cosine, ema_halflife_images)]
    check_rungs(rungs, batch)
    parts, first = [], 0
    for rung in rungs:
        last = round(rung / batch)
        length = max(1, round(COOLDOWN * last))
        branch, halflife = last - length, min(ema_halflife_images, length * batch / 10)
        trunk = functools.partial(warmup_constant, warmup=warmup_steps)
        down = functools.partial(cool_down, first=branch, last=last, warmup=warmup_steps)
        parts += [Part(first, branch, trunk, ema_halflife_images), Part(branch, last, down, halflife, rung)]
        first = branch
    return parts


def ema_decay(step, batch, halflife_images):
    """Decay of the weights' average per step: the half-life is in images; early steps average over fewer."""
    return min(0.5 ** (batch / halflife_images), (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(average, network, decay):
    """average <- decay * average + (1 - decay) * network, weight by weight; two networks of the same kind."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)


def backward_in_parts(network, schedule, target, weight, drawn, at_once):
    """Add the gradient of the mean loss over a batch to the weights, `at_once` images at a time.

    weight: factor of the loss at each t, (T,) float32; drawn: x0, y, t, eps. Returns the loss, and the errors without
    their weights, (batch,); both on the device, without gradients.
    """
    batch, parts = len(drawn[0]), []
    for x0, y, t, eps in zip(*(tensor.split(at_once) for tensor in drawn), strict=True):
        errors = denoising_loss(network, schedule, x0, y, t, eps, target)
        loss = (errors * weight[t].to(errors.device)).sum() / batch
        loss.backward()
        parts.append((loss.detach(), errors.detach()))
    losses, errors = zip(*parts, strict=True)
    return torch.stack(losses).sum(), torch.cat(errors)


# ---------------------------------------------------------------- the loop
def updates(forward, schedule, draws, optimizer, average, part, *, step, target, weight, grad_clip, micro_batch):
    """Ho et al. 2020, algorithm 1, from `step` to the end of a Part; yields (steps done, loss, norm, errors by t).

    forward: a `devices.Forward`; weight: as in `backward_in_parts`; the other arguments are those of `train_ddpm`.
    Where memory is too small, the part of a batch that is computed at once is halved and the step made again.
    """
    network, at_once = forward.model, micro_batch or draws.batch
    while step < part.last:
        x0, y, t, eps = draws(step)
        optimizer.zero_grad()
        try:
            loss, errors = backward_in_parts(forward, schedule, target, weight, (x0, y, t, eps), at_once)
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
            at_once = math.ceil(at_once / 2)
            warnings.warn(f"the device's memory is too small: {at_once} images at once from here on "
                          f"(micro_batch={at_once} says so from the start)", stacklevel=3)
            continue
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), grad_clip)
        scale_lr(optimizer, part.rate(step))
        optimizer.step()
        update_ema(average, network, ema_decay(step, draws.batch, part.halflife))
        step += 1
        yield step, loss, norm.detach(), sums_by_t(errors, t, schedule.T)


def sums_by_t(errors, t, T):
    """Sum of the errors and their number in each of BUCKETS equal parts of 0..T-1: (2, BUCKETS)."""
    sums = torch.zeros(2, BUCKETS, device=errors.device)
    return sums.index_add_(1, (t * BUCKETS // T).to(errors.device), torch.stack([errors, torch.ones_like(errors)]))


# ---------------------------------------------------------------- made resumable
@dataclasses.dataclass
class Progress:
    """How far a training is, which its state keeps beside the weights. Only `check` and `record` wait for the device.

    seconds: spent before this process; recent: loss, norm and `sums_by_t` of each step since the last record, as a row;
    aside: tensors by name: the trunk, while it cools down, as trunk.NAME; each finished rung's network as rung.N.NAME.
    """

    done: int
    seconds: float
    records: list
    recent: list
    aside: dict

    def __post_init__(self):
        self.first = self.saved = self.done
        self.start = self.saved_at = time.monotonic()

    @classmethod
    def of(cls, tensors, about, device):
        """What `tensors` and `about` gave a state."""
        count = sum(name.startswith("recent.") for name in tensors)
        recent = [tensors[f"recent.{k}"].to(device) for k in range(count)]
        return cls(int(about["done"]), float(about["seconds"]), json.loads(about["records"]), recent,
                   {name: tensor for name, tensor in tensors.items() if name.startswith(("trunk.", "rung."))})

    def tensors(self):
        return {f"recent.{k}": row for k, row in enumerate(self.recent)} | self.aside

    def about(self):
        return {"done": self.done, "seconds": self.spent(), "records": json.dumps(self.records)}

    def spent(self):
        return self.seconds + time.monotonic() - self.start

    def add(self, loss, norm, by_t):
        self.done += 1
        self.recent.append(torch.cat([loss[None], norm[None], by_t.flatten()]))

    def check(self, lr):
        """Diverged unless all losses and norms since the last record are finite."""
        if self.recent and not torch.isfinite(torch.stack(self.recent)).all():
            kept = f"; the state of step {self.saved} is kept" if self.saved else ""
            raise Diverged(f"loss or gradient is not finite by step {self.done} (lr {lr}){kept}: "
                           "lower lr or grad_clip")

    def record(self, batch, images, **more):
        """The next record, over the steps since the last one. images: that the network has seen."""
        rows, now = torch.stack(self.recent).cpu(), time.monotonic() - self.start
        total, count = rows[:, 2:].sum(0).view(2, BUCKETS).tolist()
        self.recent.clear()
        self.records.append({
            "done": self.done, "images": images, "loss": float(rows[:, 0].mean()),
            **{f"error_{k}": total[k] / count[k] if count[k] else None for k in range(BUCKETS)},
            "grad_norm": float(rows[:, 1].mean()), "seconds": round(self.spent(), 2),
            "images_per_second": (self.done - self.first) * batch / now, **more})
        return self.records[-1]


def copies(prefix, tensors, device=None):
    return {prefix + name: tensor.detach().clone().to(device) for name, tensor in tensors.items()}


def under(prefix, tensors):
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def train_ddpm(network, schedule, images, labels, *, steps, batch, lr, optimizer="adam", muon_lr=0.01, target="eps",
               loss_weight="simple", warmup_steps=100, grad_clip=1.0, label_drop=0.1, ema_halflife_images=4400,
               flip=False, micro_batch=0, precision="auto", compiled="auto", seed=0, rungs=None,
               checkpoint=None, checkpoint_seconds=60, checkpoint_images=10_000_000, log_every=20):
    """Train `network` to denoise (Ho et al. 2020, algorithm 1) and leave its averaged weights in it.

    images: (N, C, H, W) uint8; labels: (N,) int64. label_drop, flip, seed: see `Draws`. optimizer: adam, or muon with
    `muon_lr` for the hidden matrices; the rates rise over `warmup_steps` and fall to 0 on a half cosine; gradients are
    clipped to norm `grad_clip`. The exponential average of the weights replaces them at the end.
    micro_batch: images at once (0: the whole batch); the gradients of a batch's parts are added. precision, compiled:
    see `devices.Forward`; `devices.fastest` chooses for a long training on a CPU with bfloat16. `network.computed` says
    what was chosen: {precision, compiled, tried}.
    rungs: {number of images: file}, rising: instead of `steps`, leave a network at each, in its file, from a constant
    learning rate and a cool-down (`parts_of`); the last is also left in `network`.
    checkpoint: file of the training's state; written every `checkpoint_seconds` or `checkpoint_images`, and when the
    training is stopped (Ctrl-C, SIGTERM, SIGHUP, the generator's close); read at the start if it is there.
    Yields {done, images, loss, error_0.., grad_norm, seconds, images_per_second} every `log_every` steps, loss and norm
    averaged over them; error_k is the unweighted error in the k-th of BUCKETS equal parts of 0..T-1 (None where no t
    was drawn). With rungs `done` counts the updates of all parts, `images` those of the path to this one, and `rung` is
    that of the cool-down, 0 on the trunk. A training that resumes first yields the records of its earlier part again.
    Raises InputError for labels that the network does not know, an unknown target, weight, optimiser, precision or
    mode; Diverged when loss or gradient are not finite (looked at for each record and before each checkpoint, so that a
    state on the disk is sound); KeyboardInterrupt when a signal stopped it.
    """
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < network.num_classes:
        raise InputError(f"labels from {int(labels.min())} to {int(labels.max())}: "
                         f"expected 0 to {network.num_classes - 1}")
    about_rung = {"seed": seed, "batch": batch, "optimizer": optimizer, "lr": lr, "training_images": len(images)}
    average, optimizer = copy.deepcopy(network), make_optimizer(optimizer, network, lr, muon_lr)
    parts = parts_of(steps=steps, batch=batch, rungs=rungs, warmup_steps=warmup_steps,
                     ema_halflife_images=ema_halflife_images)
    total = sum(map(len, parts))
    draws = Draws(network, schedule, images, labels, batch=batch, seed=seed, label_drop=label_drop, flip=flip)
    weight = loss_weights(schedule, target, loss_weight).float()    # an unknown name is refused before a state is read
    network.trained = average.trained = (schedule, target)
    network.train()

    def gradient(forward, step):
        network.zero_grad()
        loss, _ = backward_in_parts(forward, schedule, target, weight, draws(step), micro_batch or batch)
        return loss.item(), torch.cat([p.grad.flatten() for p in network.parameters()])

    def write(rung):
        model = copy.deepcopy(average)
        model.load_state_dict(under(f"rung.{rung}.", progress.aside))
        save_model(rungs[rung], model, training=about_rung | {"rung": rung, "images": round(rung / batch) * batch}
                   | {name: network.computed[name] for name in ("precision", "compiled")})

    state = State(checkpoint) if checkpoint else None
    tensors, about = state.load() if state else ({}, {})
    if tensors:
        unpack(tensors, network, average, optimizer)
        progress = Progress.of(tensors, about, draws.device)
        network.computed = json.loads(about["computed"])
        chosen = network.computed["precision"], network.computed["compiled"]
        forward = as_before(network, precision, compiled, chosen, gradient)
    else:
        progress = Progress(0, 0.0, [], [], {})
        forward, tried = fastest(network, precision, compiled, gradient, total)
        network.computed = {"tried": tried}
    network.computed |= {"precision": forward.precision, "compiled": forward.compiled}
    for rung in rungs or ():
        if under(f"rung.{rung}.", progress.aside):
            write(rung)
    yield from progress.records

    def save():
        progress.check(lr)
        state.save(pack(network, average, optimizer) | progress.tensors(),
                   progress.about() | {"computed": json.dumps(network.computed)})
        progress.saved, progress.saved_at = progress.done, time.monotonic()

    with stop_asked() as stop:
        try:
            for part, start in zip(parts, itertools.accumulate(map(len, parts), initial=0), strict=False):
                if progress.done > start + len(part):
                    continue                            # a state at the end of a part has not left it yet
                if part.rung and not under("trunk.", progress.aside):
                    progress.aside |= copies("trunk.", pack(network, average, optimizer))
                for step, *update in updates(
                        forward, schedule, draws, optimizer, average, part, step=part.first + progress.done - start,
                        target=target, weight=weight, grad_clip=grad_clip, micro_batch=micro_batch):
                    progress.add(*update)
                    if progress.done % log_every == 0 or step == part.last:
                        progress.check(lr)
                        yield progress.record(batch, step * batch, **({"rung": part.rung} if rungs else {}))
                    stopping = stop.is_set()
                    due = (time.monotonic() - progress.saved_at > checkpoint_seconds
                           or (progress.done - progress.saved) * batch >= checkpoint_images)
                    if state and (stopping or due and progress.done < total):
                        save()
                    if stopping:
                        raise KeyboardInterrupt(f"training stopped after step {progress.done} of {total}")
                if part.rung:
                    progress.aside |= copies(f"rung.{part.rung}.", average.state_dict(), "cpu")
                    write(part.rung)
                    if part is not parts[-1]:
                        unpack(under("trunk.", progress.aside), network, average, optimizer)
                    progress.aside = {k: v for k, v in progress.aside.items() if not k.startswith("trunk.")}
        except GeneratorExit:
            if state and progress.saved < progress.done:
                save()
            raise
    network.load_state_dict(average.state_dict())
    network.eval()
