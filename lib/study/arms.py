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
from lib.study import ARMS, FURTHER, MIXED, ORACLE, classifiers, quality
from lib.study.generators import by_setting, check_oracles
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
        for r, own in enumerate(labels_by(model, images)):
            labels[r][:, places[r]] = own
        table.append(labels)
    return np.stack(table, 1)


def labels_by(model, images):
    """What `classifiers.predict` says of a list of Images, in the precision in which the model was trained."""
    half = getattr(model, "precision", "fp32") == "bf16"
    with torch.autocast(next(model.parameters()).device.type, torch.bfloat16, enabled=half):
        small = {"batch": 250} if half else {}              # on a CPU a batch that its cache holds is faster
        return classifiers.predict(model, [one.images for one in images], **small)


def side_by_side(images):
    """For each replicate's images the columns of a table in which every image has its own."""
    ends = np.cumsum([len(one) for one in images])
    return np.split(np.arange(ends[-1]), ends[:-1])


# ---------------------------------------------------------------- generators
GENERATED = {MIXED: "generator", ORACLE: "oracle"}      # arms with a generator's images, and what is chosen for them


class Setting(NamedTuple):
    """One setting of a generator. arm: of GENERATED; words: which setting; made: [(generation, training)], its runs;
    mix: the Mix with its images."""

    arm: str
    words: str
    made: list
    mix: "Mix"


class Material(NamedTuple):
    """What a study works with.

    splits: a list with the Split of each replicate; a single one where all generators learned from the same images.
    test: the sealed test. synthetic, scores: of each generator the Images, and the judge's scores of them, (N,).
    data_seeds: of each generator. groups: {a setting's description: positions of its generators}. made: {(MIXED or
    ORACLE, a setting's description): [(generation, training)], the runs}. oracle: {a setting's description: Images of
    the generators that learned from more, nested as those of Sources}. further: the real Images of each replicate that
    its generators did not learn from, or ().
    """

    splits: list
    test: SealedTest
    synthetic: tuple
    scores: tuple
    data_seeds: list
    groups: dict
    made: dict = {}
    oracle: dict = {}
    further: tuple = ()

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

    def sources(self, setting, augment="", oracle=""):
        """The Sources of arms with the generators of a setting, and of an `oracle` setting, by default the first.
        augment: what is done with the images of all arms."""
        synthetic, scores = (nested([values[i] for i in self.groups[setting]], self.replicates)
                             for values in (self.synthetic, self.scores))
        given = Sources(self.train, synthetic, scores, augment)
        first = next(iter(self.oracle), "")
        return given._replace(oracle=[given.at_most_as_many(one) for one in self.oracle.get(oracle or first, ())],
                              further=[given.at_most_as_many(self.further)] if self.further else ())

    def chosen(self, best, augment=""):
        """The Sources of arms with the setting {arm: words} of each of GENERATED."""
        return self.sources(best[MIXED], augment, best.get(ORACLE, ""))

    def named_settings(self, mixes, best):
        """{name: Setting} of all settings. The best one of an arm has the arm's name. mixes: {arm: of `mixes`}; best:
        {arm: its best setting}."""
        return {arm if words == best[arm] else f"{arm}, {words}": Setting(arm, words, self.made[arm, words], mix)
                for arm, of_arm in mixes.items() for words, mix in of_arm.items()}

    def mixes(self, arm, augment=""):
        """{a setting's description: the Mix of an arm, MIXED or ORACLE, with the generators of that setting}"""
        if arm == MIXED:
            return {words: self.sources(words, augment).mixed() for words in self.groups}
        any_setting = next(iter(self.groups))
        return {words: (given := self.sources(any_setting, augment, words)).mixed(given.oracle)
                for words in self.oracle}


def nested(values, replicates):
    """What each generator made, as a list for each generator with those of each replicate: replicates count as one."""
    return [list(values)] if replicates else [[one] for one in values]


def material(generations, trainings, run=None, *, oracles=(), further=False):
    """The Material of finished runs: generations, and for each the training whose network it sampled.

    run: the open run, under whose name each opening of the test is noted in the ledger; by default none is. oracles:
    (generations, trainings) of generators that learned from more images of the same splits. further: whether the real
    images are wanted that the generators did not learn from.

    InputError where the generators are no repeats, settings or replicates of one experiment, where real images are
    others than a network learned from, and where an oracle did not learn from them; LeakedTest where a synthetic image
    is a test image.
    """
    pairs = list(zip(generations, trainings, strict=True))
    configs = [(training.config, generation.config) for generation, training in pairs]
    groups, splits, seeds = by_setting(configs), splits_of(trainings), [train["data_seed"] for train, _ in configs]
    synthetic, scores = zip(*(loaded(*pair, splits) for pair in pairs), strict=True)
    made = {(MIXED, words): [pairs[i] for i in group] for words, group in groups.items()}
    more = oracles_of(*oracles, configs, splits) if oracles else {}
    made |= {(ORACLE, words): of_setting for words, of_setting in more.items()}
    more = {words: nested([loaded(*pair, splits)[0] for pair in of_setting], len(splits) > 1)
            for words, of_setting in more.items()}
    left = further_of(trainings, splits) if further else ()
    splits = list(splits.values())
    return Material(splits, sealed(splits, run and Ledger(run)), synthetic, scores, seeds, groups, made, more, left)


def further_of(trainings, splits):
    """A tuple with the real Images of each of `splits` that its training did not learn from. InputError without any."""
    configs = {training.config["data_seed"]: training.config | {"per_class": 0} for training in trainings}
    left = tuple(others(data.load_for(configs[seed]).train, split.train) for seed, split in splits.items())
    if not all(map(len, left)):
        raise InputError(f"arms: {FURTHER!r}: no real image is left that the generators did not learn from: expected "
                         "trainings with per_class")
    return left


def loaded(generation, training, splits):
    """The synthetic Images of a generation, and their scores. LeakedTest where one is a test image of its split."""
    split = splits[training.config["data_seed"]]
    images, scores = load(generation.path("images.npz"), split.classes)
    quality.check_no_leak(images.images, split.test.images, what=generation.name)
    return images, scores


def oracles_of(generations, trainings, own, splits):
    """{a setting's description: [(generation, training)], one for each of `splits`} of the oracles; own: the configs of
    the generators that learned from these splits. Errors as `material`."""
    pairs = [pair for pair in zip(generations, trainings, strict=True) if pair[1].config["data_seed"] in splits]
    configs = [(training.config, generation.config) for generation, training in pairs]
    check_oracles(own, configs)
    for seed, more in splits_of([training for _, training in pairs]).items():
        if not torch.equal(more.test.images, splits[seed].test.images):
            raise InputError(f"oracle_runs: the test images of data_seed={seed} are others than those of "
                             "generate_runs: expected generators of the same splits")
        if len(others(splits[seed].train, more.train)):
            raise InputError(f"oracle_runs: they did not learn from all training images of data_seed={seed} that "
                             "generate_runs learned from: expected generators that did")
    return {words: [pairs[i] for i in group] for words, group in by_setting(configs).items()}


def others(images, known):
    """Those of the Images whose pixels are not among the `known`."""
    seen = {one.tobytes() for one in known.images.numpy()}
    return select(images, torch.tensor([one.tobytes() not in seen for one in images.images.numpy()], dtype=torch.bool))


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


def beside(free, sources):
    """The Mix of a free augmentation with the synthetic images of `sources` beside its real ones."""
    return mix(free.variants[0][0], sources.synthetic, augment=free.augment)


@dataclasses.dataclass(frozen=True)
class ArmOptions:
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
    for each generator; scores: the judge's, (N,) for each of them; augment: what is done with the images of all arms;
    oracle, further: images of generators that learned from more, and further real ones, both nested as `synthetic`.

    `real`, `balanced`, `twice`, `mixed` and `alone` make a Mix; the others make images for `mixed` or `alone`, nested
    as `synthetic` is.
    """

    train: list
    synthetic: list
    scores: list = ()
    augment: str = ""
    oracle: list = ()
    further: list = ()

    def real(self, **options):
        return mix(self.train, augment=self.augment, **options)

    def balanced(self):
        """The real images, each class repeated until it is as large as the largest (over-sampling)."""
        return mix([oversampled(images) for images in self.train], augment=self.augment)

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

    def at_most_as_many(self, images):
        """Of the Images of each replicate at most as many of each class as there are synthetic ones."""
        counts = [counted(synthetic) for synthetic in self.synthetic[0]]
        return [first_of_each_class(one, most.tolist()) if (counted(one) > most).any() else one
                for one, most in zip(images, counts, strict=True)]

    def equal_epochs(self, steps):
        """The updates of real images alone in as many epochs as `steps` updates of real and synthetic ones are."""
        n = len(self.train[0])
        return max(1, round(steps * n / (n + len(self.synthetic[0][0]))))


def build(names, sources, options):
    """{name: Mix} of these arms. InputError for one that needs images which are not there."""
    for name in names:
        if ARMS[name].needs and not getattr(sources, ARMS[name].needs):
            raise InputError(f"arms: {name!r} needs {ARMS[name].needs} images: expected material that has them")
    mixes = {name: (ARMS[name], ARMS[name].build(sources, options)) for name in names}
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


def oversampled(images):
    """The images, those of each class again and again in their order, until all classes are as large."""
    of_class, most = of_classes(images), int(counted(images).max())
    return select(images, torch.cat([positions.repeat(-(-most // len(positions)))[:most] for positions in of_class]))


def counted(images):
    """How many images there are of each class. (classes,)"""
    return torch.bincount(images.labels, minlength=len(images.classes))


def of_classes(images):
    """The positions of each class's images, for the classes that have any."""
    return [k for c in range(len(images.classes)) if len(k := (images.labels == c).nonzero().flatten())]
