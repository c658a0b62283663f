"""Networks and training states as safetensors files: they hold no code, are never torn, and damage is noticed."""
import hashlib
import json
import os
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lib import DamagedError, InputError
from lib.diffusion.schedules import from_betas
from lib.diffusion.unet import UNet


# ---------------------------------------------------------------- any tensors
def save_tensors(path, tensors, metadata):
    """Write a safetensors file whole or not at all (temporary file, fsync, rename), with a sha256 of what it holds."""
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {name: str(value) for name, value in metadata.items()}
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        # one entry: safetensors writes several in any order, and the same network is to give the same file
        about = json.dumps(metadata | {"sha256": digest(tensors, metadata)}, sort_keys=True)
        save_file(tensors, temporary, {"about": about})
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)          # safetensors writes for its owner only
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_tensors(path):
    """The tensors and the metadata (text) of a file that `save_tensors` wrote. DamagedError for a damaged one: neither
    the format nor torch.load notices a flipped bit."""
    try:
        with safe_open(path, "pt") as file:
            tensors, metadata = {k: file.get_tensor(k) for k in file.keys()}, json.loads(file.metadata()["about"])
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise DamagedError(f"{path}: expected a whole safetensors file ({error})") from None
    if metadata.pop("sha256", None) != digest(tensors, metadata):
        raise DamagedError(f"{path}: damaged or not written by this project (its sha256 does not fit what it holds)")
    return tensors, metadata


def digest(tensors, metadata):
    """sha256 of names, types, shapes, bytes and metadata."""
    found = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b"")
    return found.hexdigest()


# ---------------------------------------------------------------- a trained network
def save_model(path, model, dtype=torch.float32):
    """Write a trained network with all that sampling needs: weights, options, schedule, target, `model.classes`.

    dtype: of the weights; bfloat16 halves the file, for publishing. The schedule stays float64.
    """
    schedule, target = model.trained
    classes = json.dumps(getattr(model, "classes", [str(k) for k in range(model.num_classes)]))
    weights = {name: p.detach().to(dtype) for name, p in model.named_parameters()}
    save_tensors(path, weights | {"schedule.betas": schedule.betas},
                 {"unet": json.dumps(model.options), "schedule": schedule.name, "target": target, "classes": classes})


def load_model(path, device="cpu"):
    """The U-Net (float32) of a file that `save_model` wrote, ready to sample, its schedule and its target.

    The names of its classes are its attribute `classes`. DamagedError for a damaged file, InputError for one of
    another kind.
    """
    tensors, meta = load_tensors(path)
    if missing := {"unet", "schedule", "target", "classes"} - set(meta):
        raise InputError(f"{path}: expected a trained network, but it says nothing of {', '.join(sorted(missing))}")
    schedule = from_betas(meta["schedule"], tensors.pop("schedule.betas"))
    model = UNet(**json.loads(meta["unet"]))
    model.load_state_dict(tensors)
    model.to(device, memory_format=torch.channels_last)
    model.trained, model.classes = (schedule, meta["target"]), json.loads(meta["classes"])
    return model.eval(), schedule, meta["target"]


# ---------------------------------------------------------------- a training on its way
class State:
    """The file of a training's state and the one before it: network, average, optimiser and progress.

    A whole file replaces the other one; whatever happens while it is written, the previous one is there.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.previous = self.path.with_name(f"{self.path.stem}.previous{self.path.suffix}")

    def save(self, network, average, optimizer, done, seconds, records, recent):
        """recent: tensors of one shape, of the steps since the last record."""
        tensors = {f"recent.{k}": row for k, row in enumerate(recent)}
        for (name, p), mean in zip(network.named_parameters(), average.parameters(), strict=True):
            tensors |= {f"model.{name}": p, f"ema.{name}": mean}
            tensors |= {f"optimizer.{key}.{name}": value for key, value in optimizer.state[p].items()}
        fresh = self.path.with_name(f"{self.path.stem}.fresh{self.path.suffix}")
        save_tensors(fresh, tensors, {"done": done, "seconds": seconds, "records": json.dumps(records)})
        if self.path.exists():
            os.replace(self.path, self.previous)
        os.replace(fresh, self.path)

    def load(self, network, average, optimizer):
        """Put the newest whole state back; (steps done, seconds spent, records, recent), or (0, 0.0, [], []).

        A damaged file is set aside, with a warning that names it.
        """
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                tensors, meta = load_tensors(path)
            except InputError as error:
                aside = path.with_name(path.name + ".damaged")
                os.replace(path, aside)
                warnings.warn(f"{error}; it is {aside.name} now, and training goes on from the state before it, "
                              "or from the start", stacklevel=2)
                continue
            device = next(network.parameters()).device
            with torch.no_grad():
                for (name, p), mean in zip(network.named_parameters(), average.parameters(), strict=True):
                    p.copy_(tensors[f"model.{name}"])
                    mean.copy_(tensors[f"ema.{name}"])
                    moments = {key: torch.empty_like(p).copy_(tensors[f"optimizer.{key}.{name}"])   # in p's memory
                               for key in ("exp_avg", "exp_avg_sq")}                # format: fused Adam asks for it
                    counter = "cpu" if device.type == "mps" else device             # where it keeps its count
                    optimizer.state[p] = moments | {"step": tensors[f"optimizer.step.{name}"].to(counter)}
            count = sum(name.startswith("recent.") for name in tensors)
            recent = [tensors[f"recent.{k}"].to(device) for k in range(count)]
            return int(meta["done"]), float(meta["seconds"]), json.loads(meta["records"]), recent
        return 0, 0.0, [], []

    def remove(self):
        """Delete the states after training."""
        for path in (self.path, self.previous):
            path.unlink(missing_ok=True)
