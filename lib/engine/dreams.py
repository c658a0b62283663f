"""Images from a trained network alone, without data and training: a sheet, files, an array, or the walk from noise."""
import contextlib
import json
import math
from pathlib import Path

import numpy as np
import torch

from lib import ROOT, InputError
from lib.data.images import to_uint8
from lib.diffusion.checkpoints import load_model
from lib.diffusion.devices import Forward, limit_threads, pick_device
from lib.diffusion.samplers import ImageNoise, as_labels, class_labels, generate, sample_steps
from lib.engine.taken import FOLDER
from lib.report import figures, runs

ENDINGS = (".png", ".npz", ".gif", "")
USUAL = {"sampler": "ancestral", "steps": 25, "guidance": 1.5}      # where no study tells how it sampled


def networks():
    """The published networks: {plan: file}, of the largest images first, damaged ones last."""
    size = dict.fromkeys(sorted(FOLDER.glob("*/network.safetensors")), 0)
    for file in size:
        with contextlib.suppress(InputError):               # reported to whoever asks for this one
            size[file] = math.prod(load_model(file)[0].image_shape)
    return {file.parent.name: file for file in sorted(size, key=lambda file: -size[file])}


def of_study(file):
    """How the plan of a network sampled it: {sampler, steps, spacing, eta, guidance, x0_handling}, or USUAL."""
    published = file.stem == "network"                      # .../PLAN/network.safetensors, else .../PLAN/train/NAME/
    folder = (file.parent if published else file.parent.parent.parent) / "generate"
    configs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/config.json"))]
    about = file.parent / "plan.json"
    name = json.loads(about.read_text(encoding="utf-8")).get("network") if published and about.is_file() else None
    name = name or ("" if published else file.parent.name)
    own = [config for config in configs if name in ("", Path(config["train_run"]).name)]
    if not own:
        return USUAL
    names = ("sampler", "spacing", "eta", "guidance", "x0_handling")
    return {name: own[0][name] for name in names} | {"steps": own[0]["sample_steps"]}


def title(file):
    """A name for the images of a network's file: PLAN, or PLAN-NAME of a run."""
    if file.stem == "model" and file.parent.parent.name == "train":
        return f"{file.parent.parent.parent.name}-{file.parent.name}"
    return file.parent.name if file.stem in ("network", "model") else file.stem


def dream(name="", *, classes=(), per_class=8, seed=0, out="", track=lambda records: records, **options):
    """Draw images with a published network, or with the model.safetensors of a run; the paths of what was written.

    name: a plan with a published network (the largest images unless told), or a file. classes: names or numbers, () for
    all. options: of samplers.sample_steps; they replace those of the network's study. `track` passes on the records
    {done, images_per_second} of each batch. out: a .png (a row for each class), an .npz (images (N, C, H, W) uint8,
    labels), a .gif (the walk from noise), or a folder for CLASS/NUMBER.png; "" is NAME.png and NAME.npz in
    reports/build/dreams. InputError for an unknown name or class, a damaged file, another ending, and more steps than
    the noise of its training had.
    """
    known = networks()
    name = name or next(iter(known), "")
    file = known.get(name, Path(name))
    if not file.is_file():
        names = ", ".join(known) or "(none is published)"
        raise InputError(f"network {name!r}: expected one of {names}, or a .safetensors file")
    beside = ROOT / "reports" / "build" / "dreams" / title(file)
    outs = [Path(out)] if out else [beside.with_name(beside.name + ending) for ending in (".png", ".npz")]
    if outs[0].suffix not in ENDINGS:
        raise InputError(f"--out {out}: expected a name that ends with .png, .npz or .gif, or a folder without an "
                         "ending")
    model, schedule, target = load_model(file, pick_device())
    limit_threads(model)
    options = of_study(file) | options
    if not 1 <= options["steps"] <= schedule.T:
        raise InputError(f"--steps {options['steps']}: expected 1 to {schedule.T:,}, the steps of the network's "
                         "training")
    if options["sampler"] != "ddim":
        options.pop("eta", None)
    kinds = chosen(model, classes)
    labels = torch.tensor(kinds)[class_labels(len(kinds), per_class)]
    if outs[0].suffix == ".gif":
        noise = ImageNoise(seed, range(len(labels)), model.image_shape)
        steps = sample_steps(Forward(model), schedule, labels.to(next(model.parameters()).device), noise, target=target,
                             **options)
        frames = [to_uint8(x.cpu()) for _, x, _ in steps]
        return [write_gif(outs[0], [by_class(frame, len(kinds)) for frame in frames])]
    parts = [part["images"] for part in track(generate(Forward(model), labels, seed=seed, batch=100, **options))]
    images, names = to_uint8(torch.cat(parts)), [model.classes[kind] for kind in kinds]
    for path in outs:
        if path.suffix == ".png":
            runs.write_atomic(path, figures.to_png(figures.image_grid(by_class(images, len(kinds)), names)))
        elif path.suffix == ".npz":
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, images=images, labels=[model.classes[k] for k in labels])
        else:
            write_files(path, by_class(images, len(kinds)), names)
    return outs


def chosen(model, classes):
    """The numbers of classes that are given by name or number, () for all. InputError for one that is none."""
    labels = [int(name) if name not in model.classes and name.isdigit() else name for name in classes]
    kinds = as_labels(model, labels or list(range(model.num_classes))).tolist()
    if other := [kind for kind in kinds if not 0 <= kind < model.num_classes]:
        raise InputError(f"class {other[0]}: expected 0 to {model.num_classes - 1}, or one of "
                         f"{', '.join(model.classes)}")
    return list(dict.fromkeys(kinds))


def by_class(images, number):
    """Images of `number` classes in turn as rows: (N, C, H, W) -> (number, N / number, C, H, W) array."""
    return images.view(-1, number, *images.shape[1:]).transpose(0, 1).numpy()


def write_files(folder, rows, names):
    """FOLDER/CLASS/0000.png and so on, as lib.data.external reads them."""
    from PIL import Image
    for name, row in zip(names, rows, strict=True):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k, image in enumerate(row):
            Image.fromarray(figures.to_pixels(image)).save(folder / name / f"{k:04}.png")


def write_gif(path, frames, side=48):
    """An animation of sheets (rows, columns, C, H, W), each image at least `side` pixels wide; the last one stays."""
    from PIL import Image
    sheets = []
    for rows in frames:
        scale = max(1, round(side / rows.shape[-1]))
        sheets.append(Image.fromarray(figures.tile(rows, gap=0).repeat(scale, 0).repeat(scale, 1)))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheets[0].save(path, save_all=True, append_images=sheets[1:], loop=0, duration=[120] * (len(sheets) - 1) + [2000])
    return path
