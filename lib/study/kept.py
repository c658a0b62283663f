"""What a study has trained so far, as files of its run: a stopped study resumes after the last arm it finished.

A file is found by what its networks came from: images, labels, recipe, code, versions, device. It is removed when the
run is finished, as a training's state is.
"""
import hashlib
import json

import numpy as np
import torch

from lib import DamagedError
from lib.diffusion.checkpoints import load_tensors, save_tensors, set_aside
from lib.study.fitting import Fit, new_model


class Kept:
    """The trained arms of an open run, for `Choices`."""

    def __init__(self, run):
        made = run.provenance
        self.folder, self.made_by = run.folder, [made[name] for name in ("code", "versions", "device", "threads")]

    def fit(self, mix, recipe, validation, train):
        """The Fit of an earlier call, or else the one of train(), which is kept. A damaged file is set aside, with a
        warning that names it."""
        file = self.file(mix, recipe, validation)
        if file.exists():
            try:
                return read(file, [new_model(real, recipe) for real, _ in mix.variants])
            except DamagedError as error:
                set_aside(file, error, "the arm is trained again")
        trained = train()
        write(file, trained)
        return trained

    def choice(self, recipe, decide):
        """What decide() said in an earlier call with this recipe, before a stop; else what it says now, which is kept:
        a trial by the clock may end in another way the next time."""
        digest = hashlib.sha256(f"{self.made_by} {recipe}".encode()).hexdigest()
        file = self.folder / f"state-choice-{digest[:16]}.safetensors"
        if file.exists():
            try:
                return tuple(json.loads(load_tensors(file)[1]["choice"]))
            except DamagedError as error:
                set_aside(file, error, "it is chosen again")
        chosen = decide()
        save_tensors(file, {}, {"choice": json.dumps(chosen)})
        return chosen

    def file(self, mix, recipe, validation):
        """Where the Fit of a Mix belongs."""
        shape = [[len(part or ()) for part in pair] for pair in mix.variants]
        digest = hashlib.sha256(f"{self.made_by} {recipe} {mix.augment!r} {mix.steps} {shape}".encode())
        for images in (*(one for pair in mix.variants for part in pair for one in part or ()), *validation):
            for tensor in (images.images, images.labels):
                digest.update(f" {tuple(tensor.shape)} ".encode())
                digest.update(tensor.cpu().contiguous().numpy())
        return self.folder / f"state-arm-{digest.hexdigest()[:16]}.safetensors"


def write(file, fit):
    states = [model.state_dict() for model in fit.models]
    weights = {f"{k}.{name}": tensor for k, state in enumerate(states) for name, tensor in state.items()}
    curve = [(step, accuracies.tolist()) for step, accuracies in fit.curve]
    right = torch.from_numpy(np.nan_to_num(fit.right, nan=-1).astype(np.int8))
    save_tensors(file, weights | {"right": right}, {"curve": json.dumps(curve)})


def read(file, models):
    """The Fit that `write` wrote; models: new ones of its shapes."""
    weights, about = load_tensors(file)
    for k, model in enumerate(models):
        model.load_state_dict({name: weights[f"{k}.{name}"] for name in model.state_dict()})
        model.eval()
    curve = [(step, np.array(accuracies)) for step, accuracies in json.loads(about["curve"])]
    right = weights["right"].double().numpy()
    return Fit(models, curve, np.where(right < 0, np.nan, right))
