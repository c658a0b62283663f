"""The article of a plan: its runs gathered, and each section as blocks, or as nothing where it has nothing to tell.

A block is Markdown (str), a table (DataFrame; its cells are HTML), a `Picture` that is drawn here or a `Kept` figure
that a run has drawn. All but `gather`, `pictures` and `show` are pure functions.
"""
import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown, display

from lib.report import runs, tables
from lib.report.article import figures, sentences
from lib.report.results import Ablation, Dose, Generation, Report, Schedules, Study, Training
from lib.report.text import escape

ROWS, COLUMNS = 4, 5        # of the front's sheets of images


# ---------------------------------------------------------------- what is told of
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


# ---------------------------------------------------------------- how it is told
class Picture(NamedTuple):
    """A figure of the article. draw: () -> matplotlib Figure; links: {"notebook", "data"}: files beside the page."""

    name: str
    draw: Any
    alt: str
    caption: str
    links: dict


class Kept(NamedTuple):
    """A figure that a run has drawn, with a caption for the article."""

    step: Step
    name: str
    caption: str


def links(step, table=""):
    """The pages and tables that a figure's numbers stand in."""
    place = step.name.replace("/", "-")
    return {"notebook": f"runs/{place}.html"} | ({"data": f"data/{place}-{table}.csv"} if table else {})


def own(table):
    """A table of the report itself."""
    return {"data": f"data/report-default-{table}.csv"}


def front(gathered):
    """Title, byline, three numbers, the hero, every study in one picture, the abstract."""
    blocks = [f"# {sentences.title(gathered)}\n\n{sentences.byline(gathered)}", sentences.numbers(gathered)]
    step = gathered.study or next(iter(gathered.generations), None)
    if step and (seen := gathered.pictures.get(step.generation.name)):
        blocks.append(Picture("front", lambda: figures.front(seen.strip, sheet(seen.real), sheet(seen.synthetic)),
                              "A row of images that appear out of noise; below it real images beside synthetic ones.",
                              sentences.front_caption(step), links(step.generation)))
    if gathered.study:
        blocks.append(Picture("forest", lambda: figures.forest(forest(gathered), sentences.KINDS),
                              "Dots with intervals: the change of test accuracy in each study, by free augmentation, "
                              "by synthetic images at equal updates and at each arm's own optimum, and in the "
                              "original paper's comparison.",
                              sentences.forest_caption(gathered), own("gains")))
    elif gathered.limited:
        blocks = [*blocks[:2], *limited(gathered)]
    return present(*blocks, sentences.quoted(sentences.abstract(gathered)), sentences.missing(gathered))


def sheet(images):
    return np.asarray(images).reshape(ROWS, COLUMNS, *images.shape[1:])


def forest(gathered):
    """[(study, 'from → to', {kind: gain})]"""
    rows = []
    for step in gathered.studies:
        study = step.result
        rival, levels = study.arm(study.rival), [study.arm(arm).accuracy.value for arm in ("real", "real + synthetic")]
        gains = {"rival": rival and rival.gain, "synthetic": study.gain, "optimum": study.optimum_gain,
                 "paper": study.paper_gain}
        rows.append((gathered.names[step], "{:.0f} → {:.0f} %".format(*levels), {k: g for k, g in gains.items() if g}))
    return rows


def compared(gathered):
    """What was compared: from data to generator, arms and test."""
    if not gathered.study:
        return []
    study, config = gathered.study.result, gathered.study.config
    kinds = {arm: kind for (_, kind), arms in sentences.GROUPS.items() for arm in arms}
    kinds |= {"real, equal epochs": "paper", "shuffled labels": "control"}
    share = {"synthetic only": 1, "shuffled labels": 1} | {
        arm.arm: config["synthetic_fraction"] for arm in study.arms if arm.arm.endswith("synthetic")}
    order = [arm for arm in sentences.ARM_LINES if study.arm(arm)] + [
        arm.arm for arm in study.arms if arm.arm not in sentences.ARM_LINES]
    arms = [(arm, sentences.ARM_LINES.get(arm, ""), kinds.get(arm, "real"), share.get(arm, 0)) for arm in order]
    return ["## What was compared", sentences.compared(gathered), Picture(
        "diagram", lambda: figures.diagram(study.real_images, study.synthetic_images, study.test_images, arms),
        f"Diagram: real images train a diffusion model, which makes synthetic ones; {len(arms)} arms learn from them "
        "and are tested on the same images.", sentences.diagram_caption(study), links(gathered.study, "arms"))]


def cause(gathered):
    """Was it the images? The original paper's gain taken apart, and the images beside controls and rivals."""
    if not gathered.study:
        return []
    study, blocks = gathered.study.result, []
    if study.paper_gain and study.steps_gain:
        blocks.append(sentences.bridge(study))
        few, real, mixed = (study.arm(arm) for arm in ("real, equal epochs", "real", "real + synthetic"))
        levels = [(f"real images,\n{few.steps:,} updates", few.accuracy.value),
                  (f"real images,\n{real.steps:,} updates", real.accuracy.value),
                  (f"with synthetic,\n{mixed.steps:,} updates", mixed.accuracy.value)]
        rises = [("updates", study.steps_gain, "paper"), ("images", study.gain, "synthetic")]
        blocks.append(Picture("bridge", lambda: figures.bridge(levels, rises),
                              "Bars from the original paper's baseline to synthetic images, with what more updates and "
                              "what the images add.", sentences.bridge_caption(study), links(gathered.study, "arms")))
    groups = {key: {arm: study.arm(arm).gain for arm in arms if study.arm(arm)}
              for key, arms in sentences.GROUPS.items()}
    apart = [(arm, study.arm(arm).gain) for arm in sentences.APART if study.arm(arm)]
    blocks.append(sentences.controls(study))
    shown = {key: arms for key, arms in groups.items() if arms}
    blocks.append(Picture("gains", lambda: figures.gains(shown, apart, study.each_gain),
                          "Dots with intervals: the gain of each arm against real images, in groups.",
                          sentences.gains_caption(study), links(gathered.study, "arms")))
    return ["## Was it the images?", *blocks]


def mistakes(gathered):
    """Which mistakes vanished."""
    if not gathered.study:
        return []
    study = gathered.study.result
    matrices = {arm: study.confusion.loc[arm] for arm in ("real", "real + synthetic")}
    classes = [str(c) for c in matrices["real"].columns]
    values = [matrix.to_numpy(float) for matrix in matrices.values()]
    return ["## Which mistakes vanished?", sentences.mistakes(study), Picture(
        "confusion", lambda: figures.confusion_pair(dict(zip(matrices, values, strict=True)), classes),
        "Two confusion matrices side by side: trained on real images, and on real and synthetic ones.",
        sentences.confusion_caption(study), links(gathered.study, "confusion")), Picture(
        "recall", lambda: figures.slopes(*(v.diagonal() for v in values), classes, ("real", "real + synthetic")),
        "Slope chart: the recall of each class without and with synthetic images.",
        sentences.slopes_caption(study), links(gathered.study, "by_class"))]


def quality(gathered):
    """Are the images good and new?"""
    if not gathered.generations:
        return []
    measured = {name: tables.measures(made) for name, made in gathered.families(Generation).items()}
    panels = {measure: {label: m[measure] for label, m in measured.items()} for measure in tables.MEASURES}
    made = gathered.main[1][0]
    kept = [Kept(made, "closest_pairs", sentences.neighbours_caption(made))] if has(made, "closest_pairs") else []
    return ["## Are the images good and new?", sentences.quality(gathered), Picture(
        "quality", lambda: figures.quality(panels),
        "Four panels with a row for each generator: label agreement, Fréchet distance, coverage, and closeness to "
        "training images, each beside what real images reach.", sentences.quality_caption(gathered),
        own("quality")), *kept]


def has(step, figure):
    return bool(step.run) and step.run.path(f"figures/{figure}.png").exists()


def worth(gathered):
    """How many synthetic images is a real one worth?"""
    if not gathered.doses:
        return []
    step = gathered.doses[0]
    dose, words = step.result, {"without": "real alone", "only": "synthetic alone", "with": "real, with all synthetic"}
    curves = {label: dose.curves[dose.curves["curve"] == curve].sort_values("x") for curve, label in words.items()}
    rates = [(e.synthetic, e.accuracy.value, e.real.value) for e in dose.exchange if e.real]
    table = tables.worth(dose)
    return present("## How many synthetic images is a real one worth?", sentences.worth(dose), Picture(
        "exchange", lambda: figures.exchange({k: c for k, c in curves.items() if len(c)}, rates),
        "Lines of test accuracy against the number of real or synthetic images, with arrows from one to the other.",
        sentences.exchange_caption(step), links(step, "curves")), table if len(table) else "")


def limited(gathered):
    """A limit on estimated images: the cosine images without and with it, and the label agreement of every walk."""
    step, blocks = gathered.limited, []
    pair = {made.config.get("x0_handling"): made for made in gathered.generations
            if (made.training.config["schedule"], made.training.config["target"]) == ("cosine", "eps")}
    if {"none", "clip"} <= set(pair) and all(made.name in gathered.pictures for made in pair.values()):
        free, clipped = (gathered.pictures[pair[kind].name] for kind in ("none", "clip"))
        rows = {"real": free.real[:10], "no limit": free.synthetic[:10], "clipped": clipped.synthetic[:10]}
        blocks = [Picture("limited", lambda: figures.gallery(rows),
                          "Three rows of images: real ones, those of the cosine schedule without a limit, and with it.",
                          sentences.limited_caption(pair["none"].training), links(pair["none"]))]
    return [*blocks, Picture(
        "limit", lambda: figures.limits(step.result.walks),
        "Dots with intervals: label agreement of each schedule and target, without and with a limit.",
        sentences.limit_caption(step.result), links(step, "walks"))]


def cosine(gathered):
    """Why did the original paper's cosine images fail? Only for a plan that asks; its figures stand on the front of one
    without a study."""
    if not gathered.limited:
        return []
    return ["## Why did the cosine images fail?", sentences.cosine(gathered.limited.result),
            *(limited(gathered) if gathered.study else [])]


def claims(gathered, answers):
    """The original paper's claims. answers: lib.study.claims.answers(gathered)."""
    shown = {b.name for section in (front(gathered), cause(gathered), quality(gathered)) for b in section
             if isinstance(b, Picture)}
    text = ("*Reproduced* and *not reproduced* are said only where an interval of this report decides it, and for its "
            "data: a claim about CIFAR-10 is not settled by other images.")
    return ["## The original paper's claims", text, tables.claims(answers, shown)] if answers else []


def limits(gathered):
    text = sentences.limits(gathered)
    return ["## Limits, and what would change our mind", text] if text else []


def appendices(gathered):
    """Where the numbers come from and references, then every arm, the trainings, a gallery of every generator."""
    blocks = ["## Where the numbers come from", sentences.provenance(gathered), "## References", sentences.REFERENCES]
    blocks += ["## Appendix: every arm"] if gathered.studies else []
    for step in gathered.studies:
        blocks += [f"### {escape(gathered.names[step])}", tables.arms(step.result), tables.contrasts(step.result)]
    networks = gathered.families(Training)
    histories = {name: [step.run.history for step in trained if step.run] for name, trained in networks.items()}
    if any(histories.values()):
        blocks += ["## Appendix: training", Picture(
            "training", lambda: figures.losses_and_errors(histories),
            "Two line charts, lines for each network: training loss, and squared error along the schedule.",
            sentences.training_caption(gathered), links(gathered.trainings[0]))]
    elif networks:
        blocks.append("## Appendix: training")
    if networks:
        blocks.append(tables.trainings(networks))
    if gathered.pictures:
        blocks += ["## Appendix: images of every generator", *galleries(gathered)]
    return blocks


def galleries(gathered):
    """A picture for each kind of data: real images, below them those of each generator."""
    alike = {}
    for name, (step, *_) in gathered.families(Generation).items():
        if step.name in gathered.pictures:
            alike.setdefault(step.data, {})[name] = step
    for number, (data, made) in enumerate(alike.items()):
        seen = {name: gathered.pictures[step.name].synthetic[:10] for name, step in made.items()}
        first = next(iter(made.values()))
        rows = {"real": gathered.pictures[first.name].real[:10]} | seen
        yield Picture(f"gallery_{number}", functools.partial(figures.gallery, rows),
                      f"Rows of images: real ones, then those of {len(seen)} generators.",
                      f"**{escape(data[:1].upper() + data[1:])}.** The first row is real.",
                      links(first))


def report(gathered, answers):
    """What the report itself keeps: its claims, and the data of its figures."""
    return Report(len(gathered.steps), len(gathered.missing),
                  pd.DataFrame([(a.claim, a.where, a.verdict, a.evidence) for a in answers],
                               columns=["claim", "where", "verdict", "evidence"]),
                  tables.all_gains(gathered.studies), tables.quality(gathered.generations),
                  tables.provenance(gathered.steps))


def present(*blocks):
    return [block for block in blocks if not isinstance(block, str) or block]


def show(run, blocks):
    """Show the blocks of a section in the notebook of `run`, which keeps the pictures."""
    for block in blocks:
        if isinstance(block, Picture):
            run.figure(block.draw(), block.name, block.alt, block.caption, links=block.links)
        elif isinstance(block, Kept):
            block.step.run.show_figure(block.name, caption=block.caption, links=links(block.step))
        elif isinstance(block, str):
            display(Markdown(block))
        else:
            display(HTML(block.to_html(index=False, border=0, escape=False)))
