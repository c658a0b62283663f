"""The article of a plan: each section as blocks, or as nothing where it has nothing to tell.

A block is Markdown (str), a table (DataFrame; its cells are HTML), a `Picture` that is drawn here or a `Kept` figure
that a run has drawn. All but `show` are pure functions of what was gathered.
"""
import functools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown, display

from lib.report import results, tables
from lib.report.article import captions, figures, opening, sentences
from lib.report.article.gathered import COLUMNS, ROWS, Step
from lib.report.results import Generation, Report, Training
from lib.report.text import escape


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
    blocks = [f"# {opening.title(gathered)}\n\n{opening.byline(gathered)}", opening.numbers(gathered)]
    step = gathered.study or next(iter(gathered.generations), None)
    if step and (seen := gathered.pictures.get(step.generation.name)):
        blocks.append(Picture("front", lambda: figures.front(seen.strip, sheet(seen.real), sheet(seen.synthetic)),
                              "A row of images that appear out of noise; below it real images beside synthetic ones.",
                              captions.front(step), links(step.generation)))
    if gathered.study:
        blocks.append(Picture("forest", lambda: figures.forest(forest(gathered), sentences.KINDS),
                              "Dots with intervals: the change of test accuracy in each study, by free augmentation, "
                              "by synthetic images at equal updates and at each arm's own optimum, and in the "
                              "original paper's comparison.",
                              captions.forest(gathered), own("gains")))
    elif gathered.limited:
        blocks = [*blocks[:2], *limited(gathered)]
    return present(*blocks, opening.quoted(opening.abstract(gathered)), opening.missing(gathered))


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
        rows.append((gathered.names[step], "{:.1f} → {:.1f} %".format(*levels), {k: g for k, g in gains.items() if g}))
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
        "and are tested on the same images.", captions.diagram(study), links(gathered.study, "arms"))]


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
                              "Levels from the original paper's baseline to synthetic images, with what more updates "
                              "and what the images add.", captions.bridge(study), links(gathered.study, "arms")))
    groups = {key: {arm: study.arm(arm).gain for arm in arms if study.arm(arm)}
              for key, arms in sentences.GROUPS.items()}
    apart = [(arm, study.arm(arm).gain) for arm in sentences.APART if study.arm(arm)]
    blocks.append(sentences.controls(gathered.study))
    shown = {key: arms for key, arms in groups.items() if arms}
    blocks.append(Picture("gains", lambda: figures.gains(shown, apart, study.each_gain),
                          "Dots with intervals: the gain of each arm against real images, in groups.",
                          captions.gains(study), links(gathered.study, "arms")))
    return ["## Was it the images?", *blocks]


def mistakes(gathered):
    """Which mistakes vanished."""
    if not gathered.study:
        return []
    study = gathered.study.result
    matrices = {arm: study.confusion.loc[arm] for arm in ("real", "real + synthetic")}
    classes = [str(c) for c in matrices["real"].columns]
    values = [matrix.to_numpy(float) for matrix in matrices.values()]
    return ["## Which mistakes vanished?", sentences.mistakes(gathered), Picture(
        "confusion", lambda: figures.confusion_pair(dict(zip(matrices, values, strict=True)), classes),
        "Two confusion matrices side by side: trained on real images, and on real and synthetic ones.",
        captions.confusion(study), links(gathered.study, "confusion")), Picture(
        "recall", lambda: figures.slopes(*(v.diagonal() for v in values), classes, ("real", "real + synthetic")),
        "Slope chart: the recall of each class without and with synthetic images.",
        captions.slopes(study), links(gathered.study, "by_class"))]


def quality(gathered):
    """Are the images good and new?"""
    if not gathered.generations:
        return []
    measured = {name: tables.measures(made) for name, made in gathered.families(Generation).items()}
    panels = {measure: {label: m[measure] for label, m in measured.items()} for measure in tables.MEASURES}
    made = gathered.main[1][0]
    kept = [Kept(made, "closest_pairs", captions.neighbours(made))] if has(made, "closest_pairs") else []
    return ["## Are the images good and new?", sentences.quality(gathered), Picture(
        "quality", lambda: figures.quality(panels),
        "Four panels with a row for each generator: label agreement, Fréchet distance, coverage, and closeness to "
        "training images, each beside what real images reach.", captions.quality(gathered),
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
        captions.exchange(step), links(step, "curves")), table if len(table) else "")


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
                          captions.limited(pair["none"].training), links(pair["none"]))]
    return [*blocks, Picture(
        "limit", lambda: figures.limits(step.result.walks),
        "Dots with intervals: label agreement of each schedule and target, without and with a limit.",
        captions.limit(step.result), links(step, "walks"))]


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
    text = ("*Reproduced* and *not reproduced*: what the paper measured, where an interval of this report decides it. "
            "*Holds here*: what it expected or concluded without a measurement, by an interval or a computation. All "
            "of it is said of this report's data and numbers of images: a claim about CIFAR-10 is not settled by "
            "others.")
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
        if step.result.optimum:
            blocks += ["Each arm at its own optimum, the best on validation images of all that was tried:",
                       tables.optimum(step.result)]
        data = {name: links(step, name)["data"] for name, table in results.tables(step.result).items() if len(table)}
        blocks.append("As data (CSV): " + ", ".join(f"[{name}]({file})" for name, file in data.items()))
    networks = gathered.families(Training)
    histories = {name: [step.run.history for step in trained if step.run] for name, trained in networks.items()}
    if any(histories.values()):
        blocks += ["## Appendix: training", Picture(
            "training", lambda: figures.losses_and_errors(histories),
            "Two line charts, lines for each network: training loss, and squared error along the schedule.",
            captions.training(gathered), links(gathered.trainings[0]))]
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
                      f"Rows of images: real ones, then those of {sentences.counted(len(seen), 'generator')}.",
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
