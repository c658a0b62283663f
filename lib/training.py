"""Training loops, as generators of small records: display and logging belong to the caller.

All randomness is a function of (seed, purpose, step), never of hidden generator state. So a training that was stopped
and goes on from its checkpoint ends with the same weights as one that never stopped (same versions, device, threads).
"""
import hashlib
import json
import math
import os
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lib import InputError
from lib.data import to_float
from lib.diffusion import denoising_loss, loss_weights, stratified_t
from lib.schedules import from_betas
from lib.unet import UNet


class Diverged(RuntimeError):
    """The loss is not finite."""


def pick_device(name="auto"):
    """'auto' is CUDA where there is one, else the CPU. InputError for a device that this machine lacks."""
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if here["cuda"] else "cpu")
    if not here.get(name):
        raise InputError(f"device={name!r}: expected 'auto' or one of this machine's: "
                         + ", ".join(repr(n) for n, there in here.items() if there))
    return torch.device(name)


def step_generator(*key):
    """A CPU generator whose stream is a function of `key` alone (such as seed, 'noise', step)."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def seed_dropout(seed, device):
    """Seed the hidden generator that dropout draws from. (torch.manual_seed takes 8 ms where CUDA is not started.)"""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def limit_threads(model):
    """One CPU thread for networks under a million weights: their layers are too small to share.

    Two threads on two virtual cores: 0.2 to 1.4 times as fast. Several runs side by side use the cores better.
    """
    if sum(p.numel() for p in model.parameters()) < 1_000_000:
        torch.set_num_threads(1)


def warmup_cosine(step, steps, warmup):
    """Learning rate factor: up in a line over `warmup` steps, then down a half cosine to 0 at `steps`."""
    return min(1.0, (step + 1) / max(warmup, 1)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def ema_decay(step, batch, halflife_images):
    """Decay of the weights' average per step: the half-life is in images; early steps average over fewer."""
    return min(0.5 ** (batch / halflife_images), (1 + step) / (10 + step))


# ---------------------------------------------------------------- diffusion model
BUCKETS = 10    # parts of 0..T-1 whose errors the history tells apart


def train_ddpm(model, schedule, images, labels, *, steps, batch, lr, target="eps", loss_weight="simple",
               warmup_steps=100, grad_clip=1.0, label_drop=0.1, ema_halflife_images=4400, seed=0, checkpoint=None,
               checkpoint_seconds=60, log_every=20):
    """Train `model` to denoise (Ho et al. 2020, algorithm 1) and leave its averaged weights in it.

    images: (N, C, H, W) uint8; labels: (N,) int64; both stay where they are, batches go to the model's device.
    Labels become the null label with probability `label_drop` (classifier-free guidance). Adam, gradients clipped to
    norm `grad_clip`; the exponential average of the weights replaces them at the end.
    checkpoint: file of the training state; written every `checkpoint_seconds`, read at the start if it is there.
    Yields {done, images, loss, error_0.., grad_norm, seconds, images_per_second} every `log_every` steps, loss and norm
    averaged over them; error_k is the unweighted error in the k-th of BUCKETS equal parts of 0..T-1 (None where no t
    was drawn). A training that goes on first yields the records of its earlier part again. InputError for labels that
    the model does not know, an unknown target or weight.
    Raises Diverged at the first loss that is not finite.
    """
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < model.num_classes:
        raise InputError(f"labels from {int(labels.min())} to {int(labels.max())}: "
                         f"expected 0 to {model.num_classes - 1}")
    device = next(model.parameters()).device
    weight_of_t = loss_weights(schedule, target, loss_weight).float().to(device)
    model.trained = (schedule, target)
    weights = dict(model.named_parameters())
    ema = {name: p.detach().clone() for name, p in weights.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=lr, fused=device.type in ("cpu", "cuda"))
    first, spent, records = load_state(checkpoint, model, ema, optimizer) if checkpoint else (0, 0.0, [])
    yield from records
    order = PassOrder(len(images), batch, seed)
    model.train()
    start = saved = time.monotonic()
    losses, norms, by_t = [], [], torch.zeros(2, BUCKETS, device=device)
    for step in range(first, steps):
        g = step_generator(seed, "step", step)
        index = order(step)
        x0, y = to_float(images[index]).to(device), labels[index]
        y = torch.where(torch.rand(batch, generator=g) < label_drop, model.num_classes, y).to(device)
        t = stratified_t(batch, schedule.T, g).to(device)
        eps = torch.randn(x0.shape, generator=g).to(device)
        seed_dropout(int(torch.randint(2**31, (), generator=g)), device)
        for group in optimizer.param_groups:
            group["lr"] = lr * warmup_cosine(step, steps, warmup_steps)
        errors = denoising_loss(model, schedule, channels_last(x0), y, t, eps, target)
        loss = (errors * weight_of_t[t]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), grad_clip)
        optimizer.step()
        torch._foreach_lerp_(list(ema.values()), [p.detach() for p in weights.values()],
                             1 - ema_decay(step, batch, ema_halflife_images))
        losses.append(loss.detach())
        norms.append(norm.detach())
        by_t.index_add_(1, t * BUCKETS // schedule.T, torch.stack([errors.detach(), torch.ones_like(errors)]))
        done, now = step + 1, time.monotonic()
        if done % log_every == 0 or done == steps:
            mean = float(torch.stack(losses).mean())
            if not math.isfinite(mean):
                raise Diverged(f"the loss is {mean} by step {done} (lr {lr}): lower lr or grad_clip")
            total, count = by_t.tolist()
            records.append({"done": done, "images": done * batch, "loss": mean,
                            **{f"error_{k}": e / n if n else None
                               for k, (e, n) in enumerate(zip(total, count, strict=True))},
                            "grad_norm": float(torch.stack(norms).mean()), "seconds": round(spent + now - start, 2),
                            "images_per_second": (done - first) * batch / (now - start)})
            yield records[-1]
            losses, norms, by_t = [], [], torch.zeros_like(by_t)
        if checkpoint and now - saved > checkpoint_seconds and done < steps:
            save_state(checkpoint, model, ema, optimizer, done, spent + now - start, records)
            saved = now
    with torch.no_grad():
        for name, p in weights.items():
            p.copy_(ema[name])
    model.eval()


class PassOrder:
    """Endless shuffled passes over n items, cut into batches; order(step) is the step-th one, (batch,) int64.

    A function of (n, batch, seed, step) alone: any step can be asked for first.
    """

    def __init__(self, n, batch, seed):
        self.n, self.batch, self.seed, self.passes = n, batch, seed, {}

    def __call__(self, step):
        first, last, n = step * self.batch, (step + 1) * self.batch, self.n
        needed = range(first // n, (last - 1) // n + 1)
        self.passes = {p: self.passes[p] if p in self.passes else
                       torch.randperm(n, generator=step_generator(self.seed, "order", p)) for p in needed}
        return torch.cat([self.passes[p][max(first - p * n, 0):last - p * n] for p in needed])


def channels_last(x):
    """NHWC memory: 7 % faster convolutions on CPUs, more on GPUs. The numbers are the same."""
    return x.contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------- files
def save_tensors(path, tensors, metadata):
    """Write a safetensors file whole or not at all: temporary file, fsync, rename."""
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary,
              {k: str(v) for k, v in metadata.items()})
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_tensors(path):
    """The tensors and the metadata (text) of a safetensors file; it can hold no code."""
    with safe_open(path, "pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}, file.metadata()


def save_model(path, model):
    """Write a trained network with all that sampling needs: weights, options, schedule and target."""
    schedule, target = model.trained
    save_tensors(path, dict(model.named_parameters()) | {"schedule.betas": schedule.betas},
                 {"unet": json.dumps(model.options), "schedule": schedule.name, "target": target})


def load_model(path, device="cpu"):
    """The U-Net of a file that `save_model` wrote, ready to sample, its schedule and its target."""
    tensors, meta = load_tensors(path)
    schedule = from_betas(meta["schedule"], tensors.pop("schedule.betas"))
    model = UNet(**json.loads(meta["unet"]))
    model.load_state_dict(tensors)
    model.to(device, memory_format=torch.channels_last)
    model.trained = (schedule, meta["target"])
    return model.eval(), schedule, meta["target"]


def save_state(path, model, ema, optimizer, done, seconds, records):
    tensors = {f"model.{k}": v for k, v in model.named_parameters()} | {f"ema.{k}": v for k, v in ema.items()}
    for name, p in model.named_parameters():
        tensors |= {f"optimizer.{key}.{name}": value for key, value in optimizer.state[p].items()}
    save_tensors(path, tensors, {"done": done, "seconds": seconds, "records": json.dumps(records)})


def load_state(path, model, ema, optimizer):
    """Put a saved training state back; (steps done, seconds spent, records), or (0, 0.0, []) without a file."""
    if not Path(path).exists():
        return 0, 0.0, []
    tensors, meta = load_tensors(path)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(tensors[f"model.{name}"])
            ema[name].copy_(tensors[f"ema.{name}"])
            counter = "cpu" if p.device.type == "mps" else p.device        # where the (fused) optimiser keeps its count
            optimizer.state[p] = {key: tensors[f"optimizer.{key}.{name}"].to(counter if key == "step" else p.device)
                                  for key in ("step", "exp_avg", "exp_avg_sq")}
    return int(meta["done"]), float(meta["seconds"]), json.loads(meta["records"])
