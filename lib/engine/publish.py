"""What is published of a finished plan: its report, its numbers, its best pictures, a network to dream with."""
import contextlib
import importlib.metadata
import json
import shutil
from pathlib import Path

import numpy as np
import torch

from lib import ROOT, InputError
from lib.data.images import to_uint8
from lib.diffusion.checkpoints import load_model, save_model
from lib.diffusion.devices import Forward, limit_threads, pick_device
from lib.diffusion.samplers import class_labels, generate
from lib.engine.plan import read_plan
from lib.engine.stale import stale
from lib.report import figures, results, runs
from lib.report.site import copy_without_runs

FOLDER = ROOT / "reports" / "published"
PICTURES = ("front", "forest")     # of the article, for a README
LARGEST = 50e6      # bytes of a published network


def publish(plan, network=""):
    """Copy a finished plan's report to reports/published/PLAN/, with data/*.csv, result.json (the numbers of all runs),
    requirements.txt, the pictures that a README shows, and the trained network named `network` in bfloat16. The runs'
    own pages, which are large, stay behind, and so do the links to them. Returns the folder.

    InputError where a run is not finished or was made by code that no commit holds, an unknown network, or one that is
    too large.
    """
    plan = read_plan(plan)
    for label, words in stale(plan).items():
        raise InputError(f"{label} is not up to date ({words}): `python3 -m lib report {plan.name}` makes it")
    for job in plan.jobs:
        made = runs.run_at(job.config.run_dir).provenance
        if made["commit"] in ("unknown", "none") or made["uncommitted_changes"] is not False:
            told = "with changes that are in no commit" if made["uncommitted_changes"] is True else \
                "where git could not tell its commit"
            raise InputError(f"{job.label} was made {told}: commit all changes, delete its result.json and make it "
                             "again")
    known = {job.name: job for job in plan.of("train")}
    if network and network not in known:
        raise InputError(f"network {network!r}: expected one of {', '.join(known)}")
    folder = FOLDER / plan.name
    folder.mkdir(parents=True, exist_ok=True)
    copy_without_runs(plan.html, folder)
    numbers = {job.label: results.encode(runs.load(job.config.run_dir).result) for job in plan.jobs}
    runs.write_atomic(folder / "result.json", json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    runs.write_atomic(folder / "requirements.txt", requirements())
    shutil.rmtree(folder / "data", ignore_errors=True)
    shutil.copytree(plan.html.parent / "data", folder / "data")
    article = plan.job("report", "default").folder / "figures"
    for picture in PICTURES:
        if (article / f"{picture}.png").exists():
            shutil.copyfile(article / f"{picture}.png", folder / f"{picture}.png")
    if network:
        file = folder / "network.safetensors"
        save_model(file, load_model(known[network].folder / "model.safetensors")[0], torch.bfloat16)
        if file.stat().st_size > LARGEST:
            size = file.stat().st_size / 1e6
            file.unlink()
            raise InputError(f"network {network!r} has {size:.0f} MB: expected at most {LARGEST / 1e6:.0f} MB")
    return folder


def requirements():
    """The exact versions of this environment's packages, as pip reads them."""
    found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name != "dreaming-data")


def networks():
    """The published networks: {plan: file}, of the largest images first, damaged ones last."""
    size = dict.fromkeys(sorted(FOLDER.glob("*/network.safetensors")), 0)
    for file in size:
        with contextlib.suppress(InputError):               # told to whom asks for this one
            size[file] = load_model(file)[0].options["image_size"]
    return {file.parent.name: file for file in sorted(size, key=lambda file: -size[file])}


def dream(name="", *, per_class=8, steps=25, guidance=1.5, seed=0, out="reports/build/dreams",
          track=lambda records: records):
    """Generate images with a published network, or with the model.safetensors of a run: no data and no training.

    name: a plan with a published network (the largest images unless told), or a file. `track` passes on the records
    {done, images_per_second} of each batch. Writes OUT/<name>.png, a row for each class, and OUT/<name>.npz (images
    (N, C, H, W) uint8, labels); returns both paths. InputError for an unknown name, a damaged file, or more `steps`
    than the noise of its training had.
    """
    known = networks()
    name = name or next(iter(known), "")
    file = known.get(name, Path(name))
    if not file.is_file():
        names = ", ".join(known) or "(none is published)"
        raise InputError(f"network {name!r}: expected one of {names}, or a .safetensors file")
    model, schedule, _ = load_model(file, pick_device())
    limit_threads(model)
    if not 1 <= steps <= schedule.T:
        raise InputError(f"--steps {steps}: expected 1 to {schedule.T:,}, the steps of the network's training")
    K = model.num_classes
    labels = class_labels(K, per_class)
    parts = [part["images"] for part in track(generate(
        Forward(model), labels, seed=seed, batch=100, steps=steps, guidance=guidance))]
    images = to_uint8(torch.cat(parts))
    folder = ROOT / out
    stem = file.parent.name if file.stem in ("network", "model") else file.stem
    sheet = figures.image_grid(figures.by_class(images, labels, K, per_class), model.classes)
    png = runs.write_atomic(folder / f"{stem}.png", figures.to_png(sheet))
    np.savez_compressed(folder / f"{stem}.npz", images=images, labels=labels)
    return png, png.with_suffix(".npz")
