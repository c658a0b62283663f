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
from lib.study.arms import labels_by, predicted

WATCHED, POINTS = 1000, 10      # validation images that a curve is drawn from, and its points
TIE = 1.0           # standard errors within which two candidates count as equally good


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
    label_smoothing: float = 0.0
    precision: str = "fp32"

    @classmethod
    def of(cls, config, **others):
        """The recipe in a notebook's config; `others`: what it has not, or should not have, from there."""
        names = {f.name for f in dataclasses.fields(cls)} & set(vars(config))
        return cls(**{name: getattr(config, name) for name in names} | others)

    @property
    def alone(self):
        """Whether each network is trained alone, not beside those of the other seeds and replicates."""
        return classifiers.kind(self.classifier).large or self.optimizer == "nesterov"


class Fit(NamedTuple):
    """A trained arm. models: one for each generator; its members are the networks of all seeds of the first replicate,
    then those of the second, and so on. curve: [(step, validation accuracies of all networks in percent)], of at most
    WATCHED images. right: at the end, 100 where a network is right on a validation image, else 0, and NaN for images of
    other replicates; (replicates, generators, seeds, N), an image of each replicate in a column of its own."""

    models: list
    curve: list
    right: np.ndarray

    @property
    def validation(self):
        """The mean accuracy of the replicates on validation images, in percent."""
        return float(statistics.replicate_means(self.right).mean())


def new_model(real, recipe):
    """Untrained networks for the Images of each replicate: one for each, or one for each seed where there is one."""
    first, members = real[0], len(real) if len(real) > 1 else recipe.seeds
    model = classifiers.kind(recipe.classifier)(
        tuple(first.images.shape[1:]), len(first.classes), recipe.widths, members, recipe.seed)
    model.precision = recipe.precision
    devices.limit_threads(model.to(recipe.device))
    return model


def precision(asked, real, recipe, trainings, kept=None):
    """(fp32 or bf16, what a trial found): as it is asked, and for "auto" by `classifiers.faster_precision`.

    One precision serves all arms of a study. real: the Images of each replicate; trainings: about how many networks
    will be trained by the recipe; kept: the `Kept` of a run, where a trial's choice outlives a stop.
    """
    if asked != "auto":
        return asked, {}

    def decide():
        model = new_model(real[:1], dataclasses.replace(recipe, seeds=1))
        batches = classifiers.Batches(real[:1], batch=recipe.batch, seed=recipe.seed, device=recipe.device)
        return classifiers.faster_precision(model, batches, recipe.steps * trainings, recipe.label_smoothing)
    return kept.choice(recipe, decide) if kept else decide()


def begin(real, extra, recipe, *, augment="", steps=0):
    """New networks, and the records of their training on `real` with `extra`, a pair of a Mix's variants. steps: 0
    means the recipe's."""
    steps, model = steps or recipe.steps, new_model(real, recipe)
    batches = classifiers.Batches(real, extra, batch=recipe.batch, synthetic_fraction=recipe.synthetic_fraction,
                                  members=model.members, seed=recipe.seed, device=recipe.device)
    change, mixture = augmentations.augmentation(augment) if augment else (None, None)
    return model, classifiers.train_classifier(
        model, batches, steps=steps, lr=recipe.lr, weight_decay=recipe.weight_decay, optimizer=recipe.optimizer,
        label_smoothing=recipe.label_smoothing, precision=recipe.precision,
        augment=change, mixture=mixture, log_every=max(1, steps // POINTS))


def watched(validation):
    """The validation images that a curve is drawn from."""
    return [select(images, slice(0, WATCHED)) for images in validation]


def untracked(records, total, about=""):
    return records


def fit(arm, recipe, validation, track=untracked, about="", kept=None):
    """The Fit of an arm, a Mix: for each generator a model with the networks of all replicates and seeds.

    They are trained at once, or each alone where the recipe says so. `track` shows the progress, in a line that begins
    with `about`: it passes the records of each training on. kept: the `Kept` of a run, or None.
    """
    fits, parts = [], alone(arm, recipe, validation) if recipe.alone else [(arm, recipe, validation)]
    for number, (mix, own, images) in enumerate(parts, 1):
        line = f"{about}network {number} of {len(parts)}: " if len(parts) > 1 else about
        train = functools.partial(fit_at_once, mix, own, images, track, line)
        fits.append(kept.fit(mix, own, images, train) if kept else train())
    return fits[0] if len(fits) == 1 else joined(fits, arm, recipe)


def fit_at_once(arm, recipe, validation, track, about):
    """The Fit of an arm whose networks are trained side by side."""
    steps, models, curves, some = arm.steps or recipe.steps, [], [], watched(validation)
    for real, extra in arm.variants:
        model, records = begin(real, extra, recipe, augment=arm.augment, steps=steps)
        records = track(records, total=steps, about=about)
        curves.append([(record["done"], accuracies(model, some)) for record in records])
        models.append(model)
    curve = [(points[0][0], np.concatenate([a for _, a in points])) for points in zip(*curves, strict=True)]
    labels = np.concatenate([images.labels.numpy() for images in validation])
    return Fit(models, curve, statistics.right(predicted(models, validation), labels))


def alone(arm, recipe, validation):
    """[(Mix, Recipe, validation)] of each replicate, or of each seed where there is one replicate."""
    replicates, parts = len(validation), []
    for m in range(replicates if replicates > 1 else recipe.seeds):
        r = slice(m, m + 1) if replicates > 1 else slice(0, 1)
        mix = dataclasses.replace(arm, variants=tuple((real[r], extra and extra[r]) for real, extra in arm.variants))
        parts.append((mix, dataclasses.replace(recipe, seeds=1, seed=recipe.seed + m), validation[r]))
    return parts


def joined(fits, arm, recipe):
    """The Fit of an arm from those of its `alone` networks."""
    models = [classifiers.together([one.models[g] for one in fits], new_model(real, recipe))
              for g, (real, _) in enumerate(arm.variants)]
    curve = [(points[0][0], np.stack([a for _, a in points], 1).ravel())
             for points in zip(*(one.curve for one in fits), strict=True)]
    if len(arm.variants[0][0]) == 1:
        return Fit(models, curve, np.concatenate([one.right for one in fits], 2))
    ends = np.cumsum([0, *(one.right.shape[-1] for one in fits)])
    right = np.full((len(fits), len(models), 1, ends[-1]), np.nan)
    for r, one in enumerate(fits):
        right[r, ..., ends[r]:ends[r + 1]] = one.right[0]
    return Fit(models, curve, right)


def accuracies(model, images):
    """Accuracy of each member in percent, on the Images of its replicate. (members,)"""
    return np.concatenate([statistics.accuracy(p, one.labels.numpy())
                           for p, one in zip(labels_by(model, images), images, strict=True)])


class Choices:
    """What a study trains, each arm with each recipe once, and what it chooses, on validation images alone.

    validation: a list with the Images of each replicate. A choice is made on those of all replicates, so that its own
    chance, which no interval covers, is small.
    track: as in `fit`. kept: the `Kept` of a run, where what is trained is to outlive a stop.
    """

    def __init__(self, validation, track=untracked, kept=None):
        self.validation, self.track, self.kept, self.rows, self.fits = validation, track, kept, [], {}

    def fit(self, mix, recipe, about=""):
        """The Fit of a Mix with a Recipe."""
        key = mix, repr(recipe)
        if key not in self.fits:
            self.fits[key] = fit(mix, recipe, self.validation, self.track, about, self.kept)
        return self.fits[key]

    def best(self, what, candidates):
        """The name of the candidate to take, by `preferred`. A single one is taken untried. candidates: {name: (Mix,
        Recipe)}, the smallest number first."""
        if len(candidates) == 1:
            (taken,), tried = candidates, "no other"
        else:
            fits = {name: self.fit(mix, recipe, f"choosing the {what}: ") for name, (mix, recipe) in candidates.items()}
            taken = preferred(fits)
            tried = ", ".join(f"{name}: {one.validation:.1f}" for name, one in fits.items())
        self.rows.append({"choice": what, "taken": str(taken), "candidates": tried})
        return taken

    @property
    def table(self):
        """A row for each choice: choice, taken, candidates (each with its mean validation accuracy in percent)."""
        return pd.DataFrame(self.rows, columns=["choice", "taken", "candidates"])


def preferred(fits):
    """The first name whose accuracy on validation images is within TIE standard errors of the best one's.

    fits: {name: Fit}, the smallest number first, so that near a tie it is taken (Breiman et al. 1984, section 3.4.3).
    The standard error is that of the difference between the two, from the variance by which every interval is made.

    No interval covers the chance of a choice. In simulated studies of ten replicates with 179 validation images each,
    85 % of the intervals at each arm's own optimum held the gain at the true optima; 90 % with a TIE of 0.25, 91 % with
    none, 71 % where two replicates chose.
    """
    best = max(fits.values(), key=lambda one: one.validation)
    for name, one in fits.items():
        behind = best.right - one.right
        if statistics.replicate_means(behind).mean() <= TIE * statistics.variance_parts(behind)["variance"].sum()**0.5:
            return name


def best_rival(fits):
    """The free augmentation that is best on validation images, "" where none was trained. fits: {arm: Fit}"""
    return max((arm for arm in rivals() if arm in fits), key=lambda arm: fits[arm].validation, default="")


# ---------------------------------------------------------------- each arm at its own optimum
class Optimum(NamedTuple):
    """An arm where it is best on validation images. edge: whether it takes the most or the fewest steps tried."""

    fit: Fit
    recipe: Recipe
    edge: bool


def optima(choices, arms, recipe, factors, lrs):
    """{name: Optimum}: for each of {name: Mix} the best among the same candidates, all of steps * `factors` with all of
    `lrs`, fewer updates and lower rates first. Nothing without factors."""
    best_of, steps = {}, sorted(max(2, round(recipe.steps * factor)) for factor in factors)
    for name, mix in arms.items() if steps else ():
        recipes = [dataclasses.replace(recipe, steps=n, lr=lr) for n in steps for lr in sorted(lrs)]
        tried = {f"{r.steps:,} updates at {r.lr:g}": (mix, r) for r in recipes}
        _, best = tried[choices.best(f"updates and learning rate of {name}", tried)]
        trained = choices.fit(mix, best, about=f"{name} at its own optimum: ")
        best_of[name] = Optimum(trained, best, best.steps in (steps[0], steps[-1]))
    return best_of
