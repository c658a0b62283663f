"""How arms are trained, with the same updates, weights and order of images, and what is chosen on validation images.

`validation` is a list with the Images of each replicate; so is what an arm learns from.
"""
import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from lib.data import augmentations
from lib.data.images import select
from lib.diffusion import devices
from lib.study import classifiers, rivals, statistics

WATCHED = 2000      # validation images that a curve is drawn from
PILOT = 2           # replicates within which choices are made


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How every arm is trained; the fields are those of notebook 40's parameters."""

    classifier: str
    widths: list
    steps: int
    batch: int
    lr: float
    weight_decay: float
    optimizer: str
    synthetic_fraction: float
    seeds: int
    seed: int
    device: torch.device

    @classmethod
    def of(cls, config, **others):
        """The recipe in a notebook's config; `others`: what it has not, or should not have, from there."""
        names = [f.name for f in dataclasses.fields(cls) if f.name not in others]
        return cls(**{name: getattr(config, name) for name in names}, **others)


class Fit(NamedTuple):
    """A trained arm. models: one for each generator; its members are the networks of all seeds of the first replicate,
    then those of the second, and so on. curve: [(step, validation accuracies of all networks in percent)], of at most
    WATCHED images; validation: the same at the end, of all images."""

    models: list
    curve: list
    validation: np.ndarray


def new_model(real, recipe):
    """Untrained networks for the Images of each replicate: one for each, or one for each seed where there is one."""
    first, members = real[0], len(real) if len(real) > 1 else recipe.seeds
    model = classifiers.CLASSIFIERS[recipe.classifier](
        tuple(first.images.shape[1:]), len(first.classes), recipe.widths, members, recipe.seed)
    devices.limit_threads(model.to(recipe.device))
    return model


def begin(real, extra, recipe, *, augment="", steps=0):
    """New networks, and the records of their training on `real` with `extra`, a pair of a Mix's variants. steps: 0
    means the recipe's."""
    steps, model = steps or recipe.steps, new_model(real, recipe)
    batches = classifiers.Batches(real, extra, batch=recipe.batch, synthetic_fraction=recipe.synthetic_fraction,
                                  members=model.members, seed=recipe.seed, device=recipe.device)
    return model, classifiers.train_classifier(
        model, batches, steps=steps, lr=recipe.lr, weight_decay=recipe.weight_decay, optimizer=recipe.optimizer,
        augment=augmentations.augmentation(augment) if augment else None, log_every=max(1, steps // 20))


def watched(validation):
    """The validation images that a curve is drawn from."""
    return [select(images, slice(0, WATCHED)) for images in validation]


def untracked(records, total, about=""):
    return records


def fit(arm, recipe, validation, track=untracked, about=""):
    """Train the networks of an arm: for each generator a model with those of all replicates and seeds. `track` shows
    the progress, in a line that begins with `about`: it passes the records of each training on."""
    steps, models, curves, some = arm.steps or recipe.steps, [], [], watched(validation)
    for real, extra in arm.variants:
        model, records = begin(real, extra, recipe, augment=arm.augment, steps=steps)
        records = track(records, total=steps, about=about)
        curves.append([(record["done"], accuracies(model, some)) for record in records])
        models.append(model)
    curve = [(points[0][0], np.concatenate([a for _, a in points])) for points in zip(*curves, strict=True)]
    return Fit(models, curve, np.concatenate([accuracies(model, validation) for model in models]))


def accuracies(model, images):
    """Accuracy of each member in percent, on the Images of its replicate. (members,)"""
    predicted = classifiers.predict(model, [one.images for one in images])
    return np.concatenate([statistics.accuracy(p, one.labels.numpy())
                           for p, one in zip(predicted, images, strict=True)])


class Choices:
    """What a study trains, each arm with each recipe once, and what it chooses, on validation images alone.

    validation: a list with the Images of each replicate; choices are made within the first PILOT of them.
    track: as in `fit`. kept: the `Kept` of a run, where what is trained is to outlive a stop.
    """

    def __init__(self, validation, track=untracked, kept=None):
        self.validation, self.track, self.kept, self.rows, self.fits = validation, track, kept, [], {}

    def fit(self, arm, recipe, validation=None, about=""):
        """The Fit of a Mix with a Recipe."""
        key = arm, repr(recipe)
        if key not in self.fits:
            given = arm, recipe, validation or self.validation
            train = functools.partial(fit, *given, self.track, about)
            self.fits[key] = self.kept.fit(*given, train) if self.kept else train()
        return self.fits[key]

    def best(self, what, candidates):
        """The name of the candidate whose networks are the best on validation images by their mean, the first of
        equals. A single one is taken untried. candidates: {name: (Mix, Recipe)}"""
        if len(candidates) == 1:
            (taken,), told = candidates, "no other"
        else:
            found = {name: self.pilot(arm, recipe, f"choosing the {what}: ").validation.mean()
                     for name, (arm, recipe) in candidates.items()}
            taken = max(found, key=found.get)
            told = ", ".join(f"{name}: {accuracy:.1f}" for name, accuracy in found.items())
        self.rows.append({"choice": what, "taken": str(taken), "candidates": told})
        return taken

    def pilot(self, arm, recipe, about):
        """The Fit within the first PILOT replicates."""
        if len(self.validation) <= PILOT:
            return self.fit(arm, recipe, about=about)
        variants = tuple((real[:PILOT], extra and extra[:PILOT]) for real, extra in arm.variants)
        return self.fit(dataclasses.replace(arm, variants=variants), recipe, self.validation[:PILOT], about)

    @property
    def table(self):
        """A row for each choice: choice, taken, candidates (each with its mean validation accuracy in percent)."""
        return pd.DataFrame(self.rows, columns=["choice", "taken", "candidates"])


def best_rival(fits):
    """The free augmentation that is best on validation images, "" where none was trained. fits: {arm: Fit}"""
    return max((arm for arm in rivals() if arm in fits), key=lambda arm: fits[arm].validation.mean(), default="")


# ---------------------------------------------------------------- each arm at its own optimum
class Optimum(NamedTuple):
    """An arm where it is best on validation images. edge: whether it takes the most or the fewest steps tried."""

    fit: Fit
    recipe: Recipe
    edge: bool


def optima(choices, arms, recipe, factors, lrs):
    """{name: Optimum}: for each of {name: Mix} the best among the same candidates, all of steps * `factors` with all of
    `lrs`. Nothing without factors."""
    found, steps = {}, sorted(max(2, round(recipe.steps * factor)) for factor in factors)
    for name, arm in arms.items() if steps else ():
        tried = {f"{n:,} steps at {lr:g}": dataclasses.replace(recipe, steps=n, lr=lr) for n in steps for lr in lrs}
        best = tried[choices.best(f"steps and learning rate of {name}", {w: (arm, r) for w, r in tried.items()})]
        trained = choices.fit(arm, best, about=f"{name} at its own optimum: ")
        found[name] = Optimum(trained, best, best.steps in (steps[0], steps[-1]))
    return found
