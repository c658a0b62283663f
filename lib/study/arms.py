"""The study: arms that differ in their training images and in nothing else.

Every arm takes the same number of updates at the same batch size, from the same weights and in the same order of images
(one arm, named so, takes the original paper's fewer). What is chosen, is chosen on validation images; the test is
sealed, and each arm opens it once.

A study is a list of replicates: each repeats the whole experiment, with a split of the data, a generator and a
classifier seed of its own. On a single split the list has one entry, and several generators meet several seeds.
"""
import dataclasses
from typing import NamedTuple

import numpy as np
import torch

from lib import InputError, data
from lib.data import augmentations
from lib.data.images import Images, join, select, to_float, to_uint8
from lib.study import ARMS, classifiers, quality
from lib.study.generators import settings
from lib.study.ledger import Ledger, content_hash
from lib.study.statistics import NOT_TESTED


class SealedTest:
    """The test images of a study. Only `open` sees them, once for each arm: after its last choice.

    images: a list with the test Images of each replicate; ids: which images of the data set they are, (n,) for each, by
    default all different; ledger: the `Ledger` that keeps each opening, or None. labels: (N,) of all test images, each
    image once. hashes: of each replicate's images.
    """

    def __init__(self, images, ids=None, ledger=None):
        self._images, self.opened, self.ledger = images, [], ledger
        self.hashes = [content_hash(one) for one in images]
        self._places = side_by_side(images)
        self.labels = np.concatenate([one.labels.numpy() for one in images])
        if ids is not None:
            _, first, place = np.unique(np.concatenate(ids), return_index=True, return_inverse=True)
            self._places, self.labels = [place[where] for where in self._places], self.labels[first]

    def __len__(self):
        return len(self.labels)

    def before(self):
        """The openings of these test images by other runs, of any replicate, as `Ledger.before` has them."""
        return self.ledger.before(self.hashes) if self.ledger else []

    def open(self, arm, models):
        """Predicted labels of the test images by the networks of the arm called `arm`; shapes as in `predicted`.

        InputError if that arm was opened before: a second look is a choice made on the test.
        """
        if arm in self.opened:
            raise InputError(f"arm {arm!r} has opened the test already: expected once; choose on validation images")
        self.opened.append(arm)
        if self.ledger:
            self.ledger.note(arm, self.hashes)
        return predicted(models, self._images, self._places)


def predicted(models, images, places=None):
    """Predicted labels: (replicates, generators, seeds, N).

    models: one for each generator; images: a list with the Images of each replicate. Image k of replicate r is in
    column places[r][k], by default in a column of its own; NOT_TESTED: the replicate does not have that image.
    """
    places, table = places or side_by_side(images), []
    shape = len(images), models[0].members // len(images), 1 + max(map(max, places))
    for model in models:
        labels = np.full(shape, NOT_TESTED)                                         # (replicates, seeds, N)
        for r, own in enumerate(classifiers.predict(model, [one.images for one in images])):
            labels[r][:, places[r]] = own
        table.append(labels)
    return np.stack(table, 1)


def side_by_side(images):
    """For each replicate's images the columns of a table in which every image has its own."""
    ends = np.cumsum([len(one) for one in images])
    return np.split(np.arange(ends[-1]), ends[:-1])


# ---------------------------------------------------------------- generators
class Material(NamedTuple):
    """What a study works with.

    splits: a list with the Split of each replicate; a single one where all generators learned from the same images.
    test: the sealed test. synthetic, scores: of each generator the Images, and the judge's scores of them, (N,).
    data_seeds: of each generator. groups: {a setting's description: positions of its generators}.
    """

    splits: list
    test: SealedTest
    synthetic: tuple
    scores: tuple
    data_seeds: list
    groups: dict

    @property
    def train(self):
        """A list with the training images of each replicate."""
        return [split.train for split in self.splits]

    @property
    def validation(self):
        """A list with the validation images of each replicate."""
        return [split.validation for split in self.splits]

    @property
    def replicates(self):
        """How many there are; 0 where all generators learned from one split."""
        return len(self.splits) if len(self.splits) > 1 else 0

    def sources(self, setting, augment=""):
        """The Sources of arms with the generators of a setting. Those of several replicates, one each, count as one.
        augment: what is done with the images of all arms."""
        synthetic, scores = ([values[i] for i in self.groups[setting]] for values in (self.synthetic, self.scores))
        if self.replicates:
            return Sources(self.train, [synthetic], [scores], augment)
        return Sources(self.train, [[images] for images in synthetic], [[one] for one in scores], augment)


def material(generations, trainings, run=None):
    """The Material of finished runs: generations, and for each the training whose network it sampled.

    run: the open run, under whose name each opening of the test is noted in the ledger; by default none is.

    InputError where the generators are no repeats, settings or replicates of one experiment, or where real images are
    others than a network learned from; LeakedTest where a synthetic image is a test image.
    """
    configs = [(t.config, g.config) for t, g in zip(trainings, generations, strict=True)]
    groups, splits, seeds = settings(configs), splits_of(trainings), [train["data_seed"] for train, _ in configs]
    synthetic, scores = zip(*(load(g.path("images.npz"), splits[seed].classes)
                              for g, seed in zip(generations, seeds, strict=True)), strict=True)
    for images, generation, seed in zip(synthetic, generations, seeds, strict=True):
        quality.check_no_leak(images.images, splits[seed].test.images, what=generation.name)
    splits = list(splits.values())
    return Material(splits, sealed(splits, run and Ledger(run)), synthetic, scores, seeds, groups)


def sealed(splits, ledger=None):
    """The SealedTest of replicates, each of whose images has one column however many replicates test it."""
    ids = [split.test_ids for split in splits] if len(splits) > 1 else None
    return SealedTest([split.test for split in splits], ids, ledger)


def splits_of(trainings):
    """{data_seed: Split} of what these runs of trainings learned from, rising. InputError where images have changed."""
    splits = {}
    for run in trainings:
        seed = run.config["data_seed"]
        splits[seed] = data.same_split(splits.get(seed) or data.load_for(run.config), run.result.split, run.name)
    return dict(sorted(splits.items()))


def load(file, classes):
    """The synthetic Images of a run's images.npz, and the judge's scores (N,) of them."""
    with np.load(file) as arrays:
        images, labels = (torch.from_numpy(arrays[name]) for name in ("images", "labels"))
        return Images(images, labels, classes), arrays["scores"]


# ---------------------------------------------------------------- what an arm learns from
@dataclasses.dataclass(frozen=True)
class Mix:
    """What the classifiers of an arm learn from. variants: (real, extra or None) for each generator, or a single pair
    where no generator has a part; `real` and `extra` are tuples with the Images of each replicate, and `extra` takes
    its share of each batch. augment: a name in `augmentations`, or "" for none. steps: updates; 0 means all."""

    variants: tuple
    augment: str = ""
    steps: int = 0


def mix(train, extra=None, **options):
    """The Mix of real images, with those of each generator if there are any. train: a list with the Images of each
    replicate; extra: such a list for each generator."""
    return Mix(tuple((tuple(train), extra and tuple(extra)) for extra in extra or [None]), **options)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an arm may depend on beside its images. steps: updates of every arm; batch: images of an update, of which
    synthetic_fraction are synthetic in the mixed arms; share: of the images that a filter keeps, or None."""

    steps: int
    batch: int
    synthetic_fraction: float
    seed: int = 0
    share: float | None = None

    @property
    def equal_presentations(self):
        """The updates in which real images alone are seen as often as those in `steps` mixed updates."""
        return max(1, round(self.steps * (self.batch - round(self.batch * self.synthetic_fraction)) / self.batch))


class Sources(NamedTuple):
    """The images that arms are made of. train: a list with the real Images of each replicate; synthetic: such a list
    for each generator; scores: the judge's, (N,) for each of them; augment: what is done with the images of all arms.

    `real`, `twice`, `mixed` and `alone` make a Mix; the others make images for `mixed` or `alone`, nested as
    `synthetic` is.
    """

    train: list
    synthetic: list
    scores: list = ()
    augment: str = ""

    def real(self, **options):
        return mix(self.train, augment=self.augment, **options)

    def twice(self):
        return mix([join(images, images) for images in self.train], augment=self.augment)

    def mixed(self, extra=None):
        return mix(self.train, extra or self.synthetic, augment=self.augment)

    def alone(self, images=None):
        return Mix(tuple((tuple(of_generator), None) for of_generator in images or self.synthetic), self.augment)

    def noisy(self, seed):
        """The real images with a little noise; they count as those of one generator."""
        generator = torch.Generator().manual_seed(seed)
        return [[Images(to_uint8(augmentations.noise(to_float(real.images), generator)), real.labels, real.classes)
                 for real in self.train]]

    def nearest(self):
        """For each synthetic image the real one that is nearest to it. (Minutes, of large sets.)"""
        return [[select(real, quality.nearest_distance(images.images, real.images)[1])
                 for real, images in zip(self.train, of_generator, strict=True)] for of_generator in self.synthetic]

    def shuffled(self, seed):
        """The synthetic images with each other's labels."""
        generator = torch.Generator().manual_seed(seed)
        return [[Images(one.images, one.labels[torch.randperm(len(one), generator=generator)], one.classes)
                 for one in of_generator] for of_generator in self.synthetic]

    def best(self, share):
        """The share of the synthetic images that the judge is surest of."""
        return [[best_share(images, scores, share) for images, scores in zip(*pair, strict=True)]
                for pair in zip(self.synthetic, self.scores, strict=True)]

    def random(self, share, seed):
        """As many of them, drawn by chance."""
        return [[random_share(images, share, seed) for images in of_generator] for of_generator in self.synthetic]

    def as_many(self):
        """(real, synthetic) images, of each class as many as there are of both: the first of each."""
        counts = [torch.minimum(counted(real), counted(synthetic)).tolist()         # (classes,) of each replicate
                  for real, synthetic in zip(self.train, self.synthetic[0], strict=True)]
        return tuple([[first_of_each_class(*pair) for pair in zip(replicates, counts, strict=True)]
                      for replicates in sets] for sets in ([self.train], self.synthetic))

    def equal_epochs(self, steps):
        """The updates of real images alone in as many epochs as `steps` updates of real and synthetic ones are."""
        n = len(self.train[0])
        return max(1, round(steps * n / (n + len(self.synthetic[0][0]))))


def build(names, sources, settings):
    """{name: Mix} of these arms."""
    mixes = {name: (ARMS[name], ARMS[name].build(sources, settings)) for name in names}
    return {name: augmented(mix, arm.augment) for name, (arm, mix) in mixes.items()}


def augmented(mix, augment):
    """The Mix with one more augmentation, or with none."""
    return dataclasses.replace(mix, augment=augmentations.joined(mix.augment, augment)) if augment else mix


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
    """The first `count` images of each class: a number, a list with one for each class, or a share of each (a float, at
    least one image)."""
    kept = []
    for k in of_classes(images):
        number = count[images.labels[k[0]]] if isinstance(count, list) else count
        kept.append(k[:number if isinstance(number, int) else max(1, round(number * len(k)))])
    return select(images, torch.cat(kept))


def counted(images):
    """How many images there are of each class. (classes,)"""
    return torch.bincount(images.labels, minlength=len(images.classes))


def of_classes(images):
    """The positions of each class's images, for the classes that have any."""
    return [k for c in range(len(images.classes)) if len(k := (images.labels == c).nonzero().flatten())]
