"""The study: arms that differ in their training images and in nothing else.

Every arm takes the same number of steps at the same batch size, from the same weights and in the same order of images
(one arm, named so, takes the original paper's fewer). What is chosen, is chosen on validation images; the test is
sealed, and each arm opens it once.
"""
import dataclasses
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from lib import InputError
from lib.data import augmentations
from lib.data.images import Images, join, select, to_float, to_uint8
from lib.diffusion import devices
from lib.study import CLASSICAL, classifiers, quality, statistics
from lib.study.generators import settings  # noqa: F401  notebook 40 asks this module for all of its study

WATCHED = 2000      # validation images that a curve is drawn from


class SealedTest:
    """The test images of a study. Only `open` sees them, once for each arm: after its last choice."""

    def __init__(self, images):
        self._images, self.opened = images, []
        self.labels = images.labels.numpy()

    def __len__(self):
        return len(self._images)

    def open(self, arm, models):
        """Predicted labels of the test images by the networks of the arm called `arm`: (variants, members, N).

        InputError if that arm was opened before: a second look is a choice made on the test.
        """
        if arm in self.opened:
            raise InputError(f"arm {arm!r} has opened the test already: expected once; choose on validation images")
        self.opened.append(arm)
        return np.stack([classifiers.predict(model, self._images.images).numpy() for model in models])


# ---------------------------------------------------------------- what an arm is
@dataclasses.dataclass(frozen=True)
class Arm:
    """What a classifier learns from. variants: (images, extra or None), one pair of `Images` for each generator,
    or a single one where no generator has a part; `extra` takes its share of each batch. augment: a name in
    `augmentations`, or "" for none. steps: 0 means all."""

    variants: tuple
    augment: str = ""
    steps: int = 0


def real_arm(train, **options):
    return Arm(((train, None),), **options)


def mixed_arm(train, generated, **options):
    """Real images with those of each generator."""
    return Arm(tuple((train, images) for images in generated), **options)


def load(file, classes):
    """The synthetic Images of a run's images.npz, and the judge's scores (N,) of them."""
    with np.load(file) as arrays:
        images, labels = (torch.from_numpy(arrays[name]) for name in ("images", "labels"))
        return Images(images, labels, classes), arrays["scores"]


def best_arm(train, generated, scores, share):
    """Real images with the `share` of each generator's images that the judge is surest of."""
    return mixed_arm(train, [best_share(g, s, share) for g, s in zip(generated, scores, strict=True)])


def random_arm(train, generated, share, seed=0):
    """As many of each generator's images, drawn by chance."""
    return mixed_arm(train, [random_share(g, share, seed) for g in generated])


def build_arms(train, generated, steps, seed=0):
    """{name: Arm} of the whole study, but for the filter's. train: the real images; generated: tuple of `Images`,
    one for each generator."""
    generator = torch.Generator().manual_seed(seed)
    n = len(train)
    noisy = Images(to_uint8(augmentations.noise(to_float(train.images), generator)), train.labels,
                        train.classes)
    nearest = [select(train, quality.nearest_distance(g.images, train.images)[1]) for g in generated]
    shuffled = [Images(g.images, g.labels[torch.randperm(len(g), generator=generator)], g.classes)
                for g in generated]
    return {
        "real": real_arm(train),
        "real twice": real_arm(join(train, train)),
        "real + flip": real_arm(train, augment="flip"),
        "real + shift": real_arm(train, augment="shift"),
        "real + flip and shift": real_arm(train, augment="flip and shift"),
        "real + noise": mixed_arm(train, [noisy]),
        "real + retrieval": mixed_arm(train, nearest),
        "real + synthetic": mixed_arm(train, generated),
        "real + shift + synthetic": mixed_arm(train, generated, augment="shift"),
        "synthetic only": Arm(tuple((g, None) for g in generated)),
        "shuffled labels": Arm(tuple((g, None) for g in shuffled)),
        "real, equal epochs": real_arm(train, steps=max(1, round(steps * n / (n + len(generated[0]))))),
    }


def best_share(images, scores, share):
    """Of each class the `share` (0 to 1) of images with the highest score, at least one. scores (N,)"""
    kept = [k[torch.as_tensor(scores)[k].argsort(descending=True, stable=True)[:max(1, round(share * len(k)))]]
            for k in of_classes(images)]
    return select(images, torch.cat(kept))


def random_share(images, share, seed=0):
    """Of each class a `share` (0 to 1) of the images, at least one, drawn by `seed`; a larger share holds a smaller."""
    generator = torch.Generator().manual_seed(seed)
    kept = [k[torch.randperm(len(k), generator=generator)[:max(1, round(share * len(k)))]] for k in of_classes(images)]
    return select(images, torch.cat(kept))


def first_of_each_class(images, count):
    """The first `count` images of each class, or a share of each class (a float, at least one image)."""
    kept = [k[:count if isinstance(count, int) else max(1, round(count * len(k)))] for k in of_classes(images)]
    return select(images, torch.cat(kept))


def of_classes(images):
    """The positions of each class's images, for the classes that have any."""
    return [k for c in range(len(images.classes)) if len(k := (images.labels == c).nonzero().flatten())]


# ---------------------------------------------------------------- training an arm
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
    """A trained arm. models: one for each variant, with a member for each seed; curve: [(step, (variants * seeds,)
    validation accuracies in percent)], of at most WATCHED images; validation: the same at the end, of all images."""

    models: list
    curve: list
    validation: np.ndarray


def begin(images, extra, recipe, *, augment="", steps=0):
    """New networks (a member for each seed) and the records of their training on `images`, with `extra` or None as in
    `Arm`. steps: 0 means the recipe's."""
    steps = steps or recipe.steps
    model = classifiers.CLASSIFIERS[recipe.classifier](
        tuple(images.images.shape[1:]), len(images.classes), recipe.widths, recipe.seeds, recipe.seed)
    devices.limit_threads(model.to(recipe.device))
    return model, classifiers.train_classifier(
        model, images.images, images.labels, steps=steps, batch=recipe.batch, lr=recipe.lr,
        weight_decay=recipe.weight_decay, optimizer=recipe.optimizer, seed=recipe.seed,
        synthetic=None if extra is None else (extra.images, extra.labels), synthetic_fraction=recipe.synthetic_fraction,
        augment=augmentations.augmentation(augment) if augment else None, log_every=max(1, steps // 20))


def watched(validation):
    """The validation images that a curve is drawn from."""
    return select(validation, slice(0, WATCHED))


def fit(arm, recipe, validation, track=lambda records, total: records):
    """Train the networks of an arm. `track` shows the progress: it passes the records of each training on."""
    steps, models, curves = arm.steps or recipe.steps, [], []
    some = watched(validation)
    for images, extra in arm.variants:
        model, records = begin(images, extra, recipe, augment=arm.augment, steps=steps)
        curves.append([(record["done"], accuracies(model, some)) for record in track(records, total=steps)])
        models.append(model)
    curve = [(points[0][0], np.concatenate([a for _, a in points])) for points in zip(*curves, strict=True)]
    return Fit(models, curve, np.concatenate([accuracies(model, validation) for model in models]))


def accuracies(model, images):
    """Accuracy of each member in percent. (members,)"""
    return statistics.accuracy(classifiers.predict(model, images.images).numpy(), images.labels.numpy())


class Choices:
    """What a study chooses, each on validation images alone, and the table of it. track: as in `fit`."""

    def __init__(self, validation, track=lambda records, total: records):
        self.validation, self.track, self.rows = validation, track, []

    def best(self, what, candidates):
        """The candidate whose networks are the best on validation images by their mean, the first of equals.

        candidates: {name: (Arm, Recipe)}. Returns its name and {name: Fit} of all.
        """
        fits = {name: fit(arm, recipe, self.validation, self.track) for name, (arm, recipe) in candidates.items()}
        taken = max(fits, key=lambda name: fits[name].validation.mean())
        told = ", ".join(f"{name}: {f.validation.mean():.1f}" for name, f in fits.items())
        self.rows.append({"choice": what, "taken": str(taken), "candidates": told})
        return taken, fits

    @property
    def table(self):
        """A row for each choice: choice, taken, candidates (each with its mean validation accuracy in percent)."""
        return pd.DataFrame(self.rows, columns=["choice", "taken", "candidates"])


def best_rival(fits):
    """The classical augmentation that is best on validation images, "" where none was trained. fits: {arm: Fit}"""
    return max((arm for arm in CLASSICAL if arm in fits), key=lambda arm: fits[arm].validation.mean(), default="")
