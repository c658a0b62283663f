"""The finished runs of a plan with the results that they came from and their images: what the article tells of."""
import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np

from lib.report import runs
from lib.report.results import Ablation, Dose, Generation, Schedules, Study, Training
from lib.study import outcomes

ROWS, COLUMNS = 4, 5        # of the front's sheets of images


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
        """'digits on a 12x12 canvas'"""
        return self.training.result.dataset

    @property
    def seconds(self):
        """At least what its training's own clock says: runs of earlier versions leave interrupted calls out."""
        return max(self.run.provenance["seconds"], getattr(self.result, "seconds", 0))

    @functools.cached_property
    def optimum_added(self):
        """What a study's images add to the best free augmentation, both at their optimum: an Estimate, or None."""
        arms = [f"{self.result.rival} + synthetic", self.result.rival]
        if not self.run or not set(arms) <= {arm.arm for arm in self.result.optimum}:
            return None
        kept = np.load(self.run.path("predictions.npz"))
        predictions = {str(arm): kept[f"arm_{k}"] for k, arm in enumerate(kept["arms"])}
        return outcomes.difference(predictions, kept["labels"], *map(outcomes.at_its_optimum, arms))


class Pictures(NamedTuple):
    """Images of a generator. strip: (N, C, H, W) uint8 from noise to image, or None; real, synthetic: (M, C, H, W), one
    of each class in turn."""

    strip: np.ndarray | None
    real: np.ndarray
    synthetic: np.ndarray


@dataclasses.dataclass(frozen=True)
class Gathered:
    """The runs of a plan, in its order. missing: folders of runs that failed or were not made; pictures: {name of a
    generation: Pictures}; made: the provenance of the report itself."""

    steps: tuple[Step, ...] = ()
    missing: tuple[str, ...] = ()
    plan: str = ""
    title: str = ""
    about: str = ""
    pictures: dict[str, Pictures] = dataclasses.field(default_factory=dict)
    made: dict = dataclasses.field(default_factory=dict)

    def of(self, kind):
        return tuple(step for step in self.steps if isinstance(step.result, kind))

    def families(self, kind):
        """{name: its replicates, or the only run} of a kind of result."""
        return runs.families(self.of(kind))

    @property
    def main(self):
        """(name, [generations]) of the main study, or of the plan's first: replicates of each other, or one."""
        made = (self.study or self.generations[0]).generation
        return next(((name, same) for name, same in self.families(Generation).items() if made in same),
                    (made.label, [made]))

    schedules = property(lambda self: self.of(Schedules))
    trainings = property(lambda self: self.of(Training))
    generations = property(lambda self: self.of(Generation))
    studies = property(lambda self: self.of(Study))
    doses = property(lambda self: self.of(Dose))
    ablations = property(lambda self: self.of(Ablation))

    @property
    def study(self):
        """The main study: the first, or None."""
        return next(iter(self.studies), None)

    @property
    def limited(self):
        """The ablation that asks what a limit on estimated images does, or None."""
        return next((step for step in self.ablations if step.result.limit), None)

    @functools.cached_property
    def names(self):
        """{study: its classifier, and what sets it apart from the main study}"""
        told = {s: [s.result.classifier] for s in self.studies}
        for more in (lambda s: s.data, lambda s: f"{s.training.config['schedule']} schedule"):
            told = {s: words + [more(s)] * (more(s) != more(self.study)) for s, words in told.items()}
        names = {s: ", ".join(words) for s, words in told.items()}
        shared = [name for name in names.values() if list(names.values()).count(name) > 1]
        return {s: f"{name} ({s.label})" if name in shared else name for s, name in names.items()}


def gather(read, missing=(), *, plan="", title="", about="", made=None):
    """The finished runs `read` with the results that they came from, and their images."""
    steps = {}
    for run in read:
        made_step(run, steps)
    told = [steps[run.name] for run in read]
    generated = [step for step in told if isinstance(step.result, Generation)]
    return Gathered(tuple(told), tuple(missing), plan, title, about,
                    {step.name: found for step in generated if (found := pictures(step))}, made or {})


def made_step(run, steps):
    """The Step of a run and of the one that it took its product from; both are kept in `steps`, {run's name: Step}."""
    if run.name not in steps:
        config, result = run.config, run.result
        folder = config.get("train_run") or getattr(result, "generator", "") or next(
            iter(config.get("generate_runs", [])), "")
        source = made_step(runs.load(folder), steps) if folder else None
        steps[run.name] = Step("/".join(run.name.split("/")[1:]), config, result, source, run)
    return steps[run.name]


def pictures(made):
    """Images of a generation beside real ones, or None where its data are not here any more."""
    from lib import InputError, data
    try:
        train = data.load_for(made.training.config).train
    except InputError:
        return None
    files = {name: made.run.path(f"{name}.npz") for name in ("images", "path")}
    synthetic, way = np.load(files["images"]), np.load(files["path"])["images"][0] if files["path"].exists() else None
    return Pictures(way, in_turn(train.images, train.labels), in_turn(synthetic["images"], synthetic["labels"]))


def in_turn(images, labels, n=ROWS * COLUMNS):
    """n images, the first of each class, then the second, and so on. A class without images is left out."""
    labels = np.asarray(labels)
    of = [np.flatnonzero(labels == k) for k in np.unique(labels)][:n]
    return np.asarray(images)[[of[i % len(of)][i // len(of) % len(of[i % len(of)])] for i in range(n)]]
