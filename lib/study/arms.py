"""The study: arms that differ in their training images and in nothing else.

Every arm takes the same number of steps at the same batch size, from the same weights and in the same order of images
(one arm, named so, takes the original paper's fewer). What is chosen, is chosen on validation images; the test is
sealed, and each arm opens it once.

A study of replicates repeats the whole experiment: each replicate has images, a generator and a classifier seed of its
own, and what is `Images` in a study of one split is a tuple of them here, one for each replicate. The networks of an
arm are then the members of one model, member r that of replicate r.
"""
import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from lib import InputError, data
from lib.data import augmentations
from lib.data.images import Images, join, select, to_float, to_uint8
from lib.study import classifiers, quality
from lib.study.generators import settings

NOT_TESTED = -1     # in the place of a label that was not predicted


def each(images):
    """Images as a tuple: those of each replicate, or the only ones."""
    return images if isinstance(images, tuple) else (images,)


class SealedTest:
    """The test images of a study. Only `open` sees them, once for each arm: after its last choice.

    images: Images, or a tuple with those of each replicate; then ids tells which images of the data set they are, (n,)
    for each. labels: (N,) of all test images, each image once.
    """

    def __init__(self, images, ids=()):
        self._images, self._places, self.opened = images, None, []
        self.labels = np.concatenate([one.labels.numpy() for one in each(images)])
        if ids:
            _, first, place = np.unique(np.concatenate(ids), return_index=True, return_inverse=True)
            self._places, self.labels = np.split(place, starts(images)[1:]), self.labels[first]

    def __len__(self):
        return len(self.labels)

    def open(self, arm, models):
        """Predicted labels of the test images by the networks of the arm called `arm`; shapes as in `predicted`.

        InputError if that arm was opened before: a second look is a choice made on the test.
        """
        if arm in self.opened:
            raise InputError(f"arm {arm!r} has opened the test already: expected once; choose on validation images")
        self.opened.append(arm)
        return predicted(models, self._images, self._places)


def predicted(models, images, places=None):
    """Predicted labels of Images by models with `members` networks each: (variants, members, N).

    Of a tuple with the images of each replicate, by the members of a single model: (replicates, N), where image k of
    replicate r stands in column places[r][k] (by default all beside each other), and NOT_TESTED elsewhere.
    """
    if isinstance(images, Images):
        return np.stack([classifiers.predict(model, images.images).numpy() for model in models])
    (model,), places = models, places or np.split(np.arange(sum(map(len, images))), starts(images)[1:])
    table = np.full((len(images), 1 + max(map(max, places))), NOT_TESTED)
    for row, place, labels in zip(table, places, own_labels(model, images), strict=True):
        row[place] = labels
    return table


def own_labels(model, images):
    """Predicted labels of each member's own images: a list of (n,). images: a tuple of Images."""
    padded = pad_sequence([one.images for one in images], batch_first=True)
    return [p[:len(one)] for p, one in zip(classifiers.predict(model, padded).numpy(), images, strict=True)]


def starts(images):
    """Where each one's images begin if all stand beside each other."""
    return np.cumsum([0, *map(len, images[:-1])])


def parts(splits):
    """(train, validation, SealedTest) of a study: of one Split, or a tuple of each with those of each replicate."""
    train, validation, test, ids = zip(*((s.train, s.validation, s.test, s.test_ids) for s in splits), strict=True)
    if len(test) == 1:
        return train[0], validation[0], SealedTest(test[0])
    return train, validation, SealedTest(test, ids)


# ---------------------------------------------------------------- generators
class Material(NamedTuple):
    """What a study works with.

    splits: {data_seed: Split}, rising. train, validation, test: as `parts` gives them. synthetic, scores: of each
    generator the Images and the judge's scores of them, (N,). data_seeds: of each generator. groups: {words
    for a setting: positions of its generators}.
    """

    splits: dict
    train: Images | tuple
    validation: Images | tuple
    test: SealedTest
    synthetic: tuple
    scores: tuple
    data_seeds: list
    groups: dict

    @property
    def split(self):
        """The split of the first replicate, or the only one."""
        return next(iter(self.splits.values()))

    @property
    def replicates(self):
        """How many there are; 0 where all generators learned from one split."""
        return len(self.splits) if len(self.splits) > 1 else 0


def material(generations, trainings):
    """The Material of finished runs: generations, and for each the training whose network it sampled.

    InputError where the generators are no repeats, settings or replicates of one experiment, or where real images are
    others than a network learned from; LeakedTest where a synthetic image is a test image.
    """
    configs = [(t.config, g.config) for t, g in zip(trainings, generations, strict=True)]
    groups, splits, seeds = settings(configs), splits_of(trainings), [train["data_seed"] for train, _ in configs]
    synthetic, scores = zip(*(load(g.path("images.npz"), splits[seed].classes)
                              for g, seed in zip(generations, seeds, strict=True)), strict=True)
    for images, run, seed in zip(synthetic, generations, seeds, strict=True):
        quality.check_no_leak(images.images, splits[seed].test.images, what=run.name)
    return Material(splits, *parts(splits.values()), synthetic, scores, seeds, groups)


def splits_of(trainings):
    """{data_seed: Split} of what these runs of trainings learned from, rising. InputError where images have changed."""
    splits = {}
    for run in trainings:
        seed = run.config["data_seed"]
        splits[seed] = data.same_split(splits.get(seed) or data.load_for(run.config), run.result.split, run.name)
    return dict(sorted(splits.items()))


# ---------------------------------------------------------------- what an arm is
@dataclasses.dataclass(frozen=True)
class Arm:
    """What a classifier learns from. variants: (images, extra or None), one pair of `Images` for each generator or
    replicate, or a single one where no generator has a part; `extra` takes its share of each batch. augment: a name in
    `augmentations`, or "" for none. steps: 0 means all."""

    variants: tuple
    augment: str = ""
    steps: int = 0


def real_arm(train, **options):
    return Arm(tuple((images, None) for images in each(train)), **options)


def mixed_arm(train, generated, **options):
    """Real images with those of each generator; each replicate's real images with those of its own generator."""
    real = train if isinstance(train, tuple) else [train] * len(generated)
    return Arm(tuple(zip(real, generated, strict=True)), **options)


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


def build_arms(train, generated, steps, seed=0, names=()):
    """{name: Arm} of the whole study, but for the filter's; only of those in `names`, if there are any. train: the real
    images, or a tuple with those of each replicate; generated: `Images` of each generator, of each replicate."""
    generator = torch.Generator().manual_seed(seed)
    mixed, n = mixed_arm(train, generated), len(each(train)[0])
    noisy = [Images(to_uint8(augmentations.noise(to_float(real.images), generator)), real.labels, real.classes)
             for real in each(train)]
    nearest = [select(real, quality.nearest_distance(g.images, real.images)[1]) for real, g in mixed.variants
               if not names or "real + retrieval" in names]          # minutes, of large sets
    shuffled = [Images(g.images, g.labels[torch.randperm(len(g), generator=generator)], g.classes)
                for g in generated]
    arms = {
        "real": real_arm(train),
        "real twice": Arm(tuple((join(real, real), None) for real in each(train))),
        "real + flip": real_arm(train, augment="flip"),
        "real + shift": real_arm(train, augment="shift"),
        "real + flip and shift": real_arm(train, augment="flip and shift"),
        "real + noise": mixed_arm(train, noisy),
        "real + retrieval": nearest and mixed_arm(train, nearest),
        "real + synthetic": mixed,
        "real + shift + synthetic": mixed_arm(train, generated, augment="shift"),
        "synthetic only": Arm(tuple((g, None) for g in generated)),
        "shuffled labels": Arm(tuple((g, None) for g in shuffled)),
        "real, equal epochs": real_arm(train, steps=max(1, round(steps * n / (n + len(generated[0]))))),
    }
    return {name: arm for name, arm in arms.items() if not names or name in names}


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
