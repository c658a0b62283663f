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
from lib.data import SIDES
from lib.data.places import is_lfs_pointer
from lib.diffusion import LEVELS, PATCHES, TARGETS, known
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
            known_sum = metadata.pop("sha256", None)
    except (SafetensorError, OSError, TypeError, KeyError, ValueError, AttributeError, RecursionError) as error:
        pointer = os.path.isfile(path) and is_lfs_pointer(Path(path))
        why = "it is a Git LFS pointer: `git lfs pull` fetches the file" if pointer else error
        raise DamagedError(f"{path}: expected a whole safetensors file ({why})") from None
    if known_sum != digest(tensors, metadata):
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
def network_file(rung=0):
    """Name of the file of a training's network: of the last or only one, or of the one at `rung` images."""
    return f"network-{rung}.safetensors" if rung else "model.safetensors"


def save_model(path, model, dtype=torch.float32, training=None):
    """Write a trained network with all that sampling needs: weights, options, schedule, target, `model.classes`.

    dtype: of the weights; bfloat16 halves the file, for publishing. The schedule stays float64. training: how it came
    to be, as JSON holds it; a text of the file's metadata.
    """
    schedule, target = model.trained
    classes = json.dumps(getattr(model, "classes", [str(k) for k in range(model.num_classes)]))
    weights = {name: p.detach().to(dtype) for name, p in model.named_parameters()}
    about = {"unet": json.dumps(model.options), "schedule": schedule.name, "target": target, "classes": classes}
    about |= {"training": json.dumps(training)} if training else {}
    save_tensors(path, weights | {"schedule.betas": schedule.betas}, about)


def load_model(path, device="cpu"):
    """The U-Net (float32) of a file that `save_model` wrote, ready to sample, its schedule and its target.

    The names of its classes are its attribute `classes`. DamagedError for a damaged file, InputError for one of
    another kind: nothing is built before options, names and shapes are checked, so that the network takes no more
    memory than the file.
    """
    tensors, meta = load_tensors(path)
    try:
        options, classes, schedule = read_about(tensors, meta)
        with torch.device("meta"):                                  # shapes without memory
            expected = {name: p.shape for name, p in UNet(**options).state_dict().items()}
        check_weights(tensors, expected)
    except InputError as error:
        raise InputError(f"{path}: expected a trained network, but {error}") from None
    model = UNet(**options)
    model.load_state_dict(tensors)
    model.to(device, memory_format=torch.channels_last)
    model.trained, model.classes = (schedule, meta["target"]), classes
    return model.eval(), schedule, meta["target"]


def whole(low, high):
    return lambda v: type(v) is int and low <= v <= high


def several(accepts, most=LEVELS):
    return lambda vs: type(vs) is list and len(vs) <= most and all(map(accepts, vs))


OPTIONS = {     # of the U-Net: what each may be, as in notebook 20's parameters
    "image_channels": whole(1, 4),
    "image_size": lambda v: whole(*SIDES)(v) or several(whole(*SIDES))(v) and len(v) == 2,
    "num_classes": whole(1, 10_000),
    "channels": lambda v: whole(8, 512)(v) and v % 8 == 0,
    "channel_mult": lambda v: several(whole(1, 16))(v) and len(v) > 0,
    "num_res_blocks": whole(1, 8),
    "attn_resolutions": several(whole(1, SIDES[1])),
    "dropout": lambda v: type(v) in (int, float) and 0 <= v <= 0.9,
    "patch": lambda v: v in PATCHES,
}


def read_about(tensors, meta):
    """The U-Net's options, the names of the classes and the schedule of a network's file; takes the schedule's betas
    out of its tensors. InputError, without the file's name, for what no `save_model` writes."""
    if missing := {"unet", "schedule", "target", "classes"} - set(meta):
        raise InputError(f"it says nothing of {', '.join(sorted(missing))}")
    try:
        options, classes = json.loads(meta["unet"]), json.loads(meta["classes"])
        options = {"patch": 1} | options                            # files from before there were patches
    except (ValueError, TypeError, RecursionError):
        raise InputError("its options or classes are not readable") from None
    if differing := set(options) ^ set(OPTIONS):
        raise InputError(f"its options lack or add {', '.join(sorted(differing))}")
    for name, accepts in OPTIONS.items():
        if not accepts(options[name]):
            raise InputError(f"its option {name}={str(options[name])[:50]} is out of range")
    if not several(lambda v: type(v) is str, options["num_classes"])(classes) or len(classes) < options["num_classes"]:
        raise InputError(f"it does not name its {options['num_classes']} classes")
    known("target", meta["target"], TARGETS)
    betas = tensors.pop("schedule.betas", torch.empty(0))
    if betas.ndim != 1 or not 2 <= len(betas) <= 10_000:
        raise InputError("it holds no schedule of 2 to 10,000 steps")
    return options, classes, from_betas(meta["schedule"], betas)


def check_weights(tensors, expected):
    """InputError unless the tensors have the expected names and shapes and hold finite numbers."""
    if differing := set(tensors) ^ set(expected):
        raise InputError(f"it lacks or adds {len(differing)} tensors, such as {min(differing)}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name]:
            raise InputError(f"its {name} is {tuple(tensor.shape)} and not {tuple(expected[name])} as its options say")
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise InputError(f"its {name} holds values that are not finite numbers")


# ---------------------------------------------------------------- a training on its way
def set_aside(path, error, instead):
    """Rename a damaged file, and warn of it and of what is done instead."""
    aside = path.with_name(path.name + ".damaged")
    os.replace(path, aside)
    warnings.warn(f"{error}; it is {aside.name} now, and {instead}", stacklevel=3)


def pack(network, average, optimizer):
    """{name: tensor} of what a training has learned: its network, the average, and the optimiser's moments."""
    tensors = {}
    for (name, p), mean in zip(network.named_parameters(), average.parameters(), strict=True):
        tensors |= {f"model.{name}": p, f"ema.{name}": mean}
        tensors |= {f"optimizer.{key}.{name}": value for key, value in optimizer.state[p].items()}
    return tensors


@torch.no_grad()
def unpack(tensors, network, average, optimizer):
    """Put what `pack` gave back into a network, an average and an optimiser of the same kinds."""
    weights = dict(network.named_parameters())
    for (name, p), mean in zip(weights.items(), average.parameters(), strict=True):
        p.copy_(tensors[f"model.{name}"])
        mean.copy_(tensors[f"ema.{name}"])
        optimizer.state[p] = {}
    for full, value in tensors.items():
        if full.startswith("optimizer."):
            _, key, name = full.split(".", 2)
            optimizer.state[weights[name]][key] = like(weights[name], value)


def like(weight, value):
    """A new copy of what an optimiser keeps of a weight, where it expects it: moments in the weight's memory format
    (fused Adam asks for it), its count on the weight's device, but for mps, where it is on the CPU."""
    if value.shape == weight.shape:
        return torch.empty_like(weight).copy_(value)
    return value.to("cpu" if weight.device.type == "mps" else weight.device, copy=True)


class State:
    """The file of a training's state and the one before it: tensors, and a few texts about them.

    A whole file replaces the other one; whatever happens while it is written, the previous one is there.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.previous = self.path.with_name(f"{self.path.stem}.previous{self.path.suffix}")

    def save(self, tensors, about):
        fresh = self.path.with_name(f"{self.path.stem}.fresh{self.path.suffix}")
        save_tensors(fresh, tensors, about)
        if self.path.exists():
            os.replace(self.path, self.previous)
        os.replace(fresh, self.path)

    def load(self):
        """(tensors, about) of the newest whole file; ({}, {}) if there is none.

        A damaged file is set aside, with a warning that names it.
        """
        for path in (self.path, self.previous):
            if path.exists():
                try:
                    return load_tensors(path)
                except DamagedError as error:
                    set_aside(path, error, "training resumes from the state before it, or from the start")
        return {}, {}
