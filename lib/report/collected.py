"""The finished runs of a plan, with the results that they came from and their images: what a page is made of."""
import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lib.report import runs
from lib.report.results import Ablation, Dose, Estimate, External, Generation, Schedules, Study, Training
from lib.study import outcomes

SHOWN = 20          # images of a sheet, one of each class in turn


class Sheet(NamedTuple):
    """Images of one generator, (N, C, H, W) uint8. path: one image on its way from noise, or None; real, synthetic: one
    image of each class in turn."""

    path: np.ndarray | None
    real: np.ndarray
    synthetic: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One finished run of a plan. name: 'train/cosine'; source: the step whose product it took (of a study the
    generation, of a generation the training)."""

    name: str
    config: dict
    result: Any
    source: "Step | None" = None
    run: "runs.Run | None" = None

    @property
    def label(self):
        return self.name.split("/")[1]

    @property
    def training(self):
        return self if isinstance(self.result, Training) or not self.source else self.source.training

    @property
    def generation(self):
        return self if isinstance(self.result, Generation) or not self.source else self.source.generation

    @property
    def data(self):
        """The data set in words: 'digits on a 12x12 canvas'."""
        return self.training.result.dataset

    @property
    def seconds(self):
        """How long the run took; at least what its training's own clock says, since older runs leave out interrupted
        calls."""
        return max(self.run.provenance["seconds"], getattr(self.result, "seconds", 0))

    @functools.cached_property
    def predictions(self):
        """(labels (N,), {arm: predicted labels}) of a study, or None where they were not kept."""
        if not self.run or not isinstance(self.result, Study) or not self.run.path("predictions.npz").exists():
            return None
        with np.load(self.run.path("predictions.npz")) as kept:
            return kept["labels"], {str(arm): kept[f"arm_{k}"] for k, arm in enumerate(kept["arms"])}

    @functools.cached_property
    def recalls(self):
        """The recall of each class by each arm (see outcomes.recalls), or None where no predictions were kept."""
        if not self.predictions:
            return None
        labels, predictions = self.predictions
        arms = {arm.arm: predictions[arm.arm] for arm in self.result.arms}
        return outcomes.recalls(arms, labels, self.training.result.classes)

    def macro(self, arm, against=None):
        """The macro recall of an arm of a study, or its difference to another's; None where it cannot be told."""
        if not self.predictions or not {arm, against or arm} <= set(self.predictions[1]):
            return None
        labels, predictions = self.predictions
        return outcomes.macro_recall(predictions, labels, arm, against)

    @functools.cached_property
    def sheet(self):
        """The Sheet of a generation: the one that was kept, else from the run's images and its data; None where these
        are not here."""
        if not self.run:
            return None
        if self.run.path("sheets.npz").exists():
            with np.load(self.run.path("sheets.npz")) as kept:
                return Sheet(kept.get("path"), kept["real"], kept["synthetic"])
        return make_sheet(self.run, self.training.config)


def make_sheet(run, config):
    """The Sheet of a generation's run, with the real images that `config`, of its training, names; None where the
    images or the data are not here."""
    from lib import InputError, data
    if not run.path("images.npz").exists():
        return None
    try:
        train = data.load_for(config).train
    except InputError:
        return None
    synthetic, file = np.load(run.path("images.npz")), run.path("path.npz")
    return Sheet(np.load(file)["images"][0] if file.exists() else None,
                 *(in_turn(*pair, len(train.classes)) for pair in (
                     (train.images, train.labels), (synthetic["images"], synthetic["labels"]))))


def in_turn(images, labels, classes, number=SHOWN):
    """`number` images: the first of each class, then the second of each, and so on; black where a class has none."""
    images, labels = np.asarray(images), np.asarray(labels)
    of_class = [np.flatnonzero(labels == k) for k in range(classes)]
    sheet = np.zeros((number, *images.shape[1:]), np.uint8)
    for place in range(number):
        turn, k = divmod(place, classes)
        if len(of_class[k]):
            sheet[place] = images[of_class[k][turn % len(of_class[k])]]
    return sheet


@dataclasses.dataclass(frozen=True)
class Collected:
    """The runs of a plan, in its order. missing: folders of runs that failed or were not made; provenance: of the
    page's own run."""

    steps: tuple[Step, ...] = ()
    missing: tuple[str, ...] = ()
    plan: str = ""
    title: str = ""
    about: str = ""
    provenance: dict = dataclasses.field(default_factory=dict)

    def of(self, kind):
        return tuple(step for step in self.steps if isinstance(step.result, kind))

    def families(self, kind):
        """{name: its replicates, or the only run} of a kind of result."""
        return runs.families(self.of(kind))

    @property
    def main(self):
        """(name, [generations]) of the main study, or of the plan's first: replicates of each other, or one."""
        generation = (self.study or self.generations[0]).generation
        return next(((name, same) for name, same in self.families(Generation).items() if generation in same),
                    (generation.label, [generation]))

    schedules = property(lambda self: self.of(Schedules))
    trainings = property(lambda self: self.of(Training))
    real = property(lambda self: self.of((Training, External)))     # the steps that read real images
    externals = property(lambda self: self.of(External))
    generations = property(lambda self: self.of(Generation))
    studies = property(lambda self: self.of(Study))
    doses = property(lambda self: self.of(Dose))
    ablations = property(lambda self: self.of(Ablation))

    @property
    def study(self):
        """The main study: the first, or None."""
        return next(iter(self.studies), None)

    @property
    def with_generator_gains(self):
        """The studies that say what the images of each of their generators add."""
        return [step for step in self.studies if step.result.generator_gains]

    @functools.cached_property
    def names(self):
        """{study: its classifier, and what sets it apart from the main study}"""
        parts = {s: [s.result.classifier] for s in self.studies}
        for more in (lambda s: s.data, lambda s: f"{s.training.config.get('schedule', 'no')} schedule"):
            parts = {s: name + [more(s)] * (more(s) != more(self.study)) for s, name in parts.items()}
        names = {s: ", ".join(name) for s, name in parts.items()}
        shared = [name for name in names.values() if list(names.values()).count(name) > 1]
        return {s: f"{name} ({s.label})" if name in shared else name for s, name in names.items()}


def collect(read, missing=(), *, plan="", title="", about="", provenance=None):
    """The finished runs `read` with the results that they came from: a Collected."""
    steps = {}
    for run in read:
        step_of(run, steps)
    return Collected(tuple(steps[run.name] for run in read), tuple(missing), plan, title, about, provenance or {})


def step_of(run, steps):
    """The Step of a run and of the one that it took its product from; both are kept in `steps`, {run's name: Step}."""
    if run.name not in steps:
        config, result = run.config, run.result
        folder = config.get("train_run") or getattr(result, "generator", "") or next(
            iter(config.get("generate_runs", [])), "")
        source = step_of(upstream(run, folder), steps) if folder else None
        steps[run.name] = Step("/".join(run.name.split("/")[1:]), config, result, source, run)
    return steps[run.name]


def upstream(run, folder):
    """The run in `folder` that `run` read; of published runs the one that was published with it."""
    plan, step, name = Path(folder).parts[-3:]
    beside = runs.Run(run.folder.parents[1] / step / name)
    return beside if beside.finished and run.folder.parents[1].name == plan else runs.load(folder, whole=False)


# ---------------------------------------------------------------- replicates as one
PERCENT = ("coverage", "coverage_perfect", "outside_range")     # measured fields that are numbers and no Estimates


class Mean:
    """The replicates of one network or generator as one: a measured field is the Estimate of its mean over them
    (Student's t interval). A field that is the same for all, or a single run's, is itself."""

    def __init__(self, steps):
        self.steps, self.networks = list(steps), len(steps)

    @property
    def times_real(self):
        """Frechet's distance in multiples of that between real images."""
        return self.mean([step.result.frechet.value / step.result.reference.value for step in self.steps], "times")

    @property
    def copies_share(self):
        """How many images lie closer to a training image than 99 of 100 new real ones do."""
        return self.mean([step.result.memorisation.share for step in self.steps], "%")

    @property
    def copies_expected(self):
        """How many new real images do."""
        return self.mean([step.result.memorisation.expected for step in self.steps], "%")

    def mean(self, numbers, unit):
        """The Estimate of the mean over the networks; of equal numbers, or of one, without an interval."""
        return mean_estimate(numbers, "networks", unit) if len(set(numbers)) > 1 else Estimate(numbers[0], unit=unit)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        values = [getattr(step.result, name) for step in self.steps]
        unit = "%" if name in PERCENT else getattr(values[0], "unit", "")
        numbers = [getattr(value, "value", value) for value in values]
        if not all(isinstance(number, int | float) for number in numbers) or len(set(numbers)) == 1:
            return Estimate(numbers[0], unit=unit) if name in PERCENT else values[0]
        return mean_estimate(numbers, "networks", unit)


def mean_estimate(numbers, of, unit):
    """The Estimate of the mean of independent numbers, with Student's t interval."""
    from lib.study.statistics import t_estimate
    n = len(numbers)
    return t_estimate(np.mean(numbers), [np.var(numbers, ddof=1) / n], [n - 1], n, of, unit)
