"""The plain report: the page of a plan without an authored article, in fixed words around its numbers.

It says what the data are, which effect the study could have seen, then a table and figures for each study, the quality
of the images, limits, and where the numbers come from. `appendix` closes the authored articles too.
"""
import datetime

import pandas as pd

from lib.report import tables
from lib.report.article import Block
from lib.report.drawings import FIGURES
from lib.report.results import External, Generation, Training
from lib.report.text import escape
from lib.study import MIXED, REAL


def page(collected):
    """The page up to its appendix: Markdown texts, tables and Blocks, the title first."""
    about = f'\n\n<p class="deck">{escape(collected.about)}</p>' if collected.about else ""
    return [f"# {escape(collected.title or 'Report')}{about}", *data(collected), *answer(collected),
            *studies(collected), *doses(collected), *images(collected), *walks(collected), *limits(collected)]


def byline(collected):
    """When the last run was made, and the same page as a PDF."""
    days = [step.run.provenance["start"][:10] for step in collected.steps if step.run]
    if not days:
        return []
    day = datetime.date.fromisoformat(max(days))
    return [f"*{day.day} {day:%B %Y} · [PDF](report.pdf) · [every number](data.html)*"]


def figure(name, **options):
    """A Block of a listed figure with its fixed caption and alt text."""
    return Block("figure", name, FIGURES[name].caption, FIGURES[name].alt, options)


def gaps(collected):
    """Which runs are missing."""
    missing = [escape("/".join(folder.split("/")[-2:])) for folder in collected.missing]
    return [f"**Missing runs:** {', '.join(missing)}. They failed, or were not made."] if missing else []


def data(collected):
    """A table with a row for each data set: its classes and their counts, and what was left out."""
    rows = {}
    for step in collected.real:
        training = step.result
        counts = training.class_counts
        classes = ", ".join(f"{escape(name)} ({counts[k]:,})" if counts else escape(name)
                            for k, name in enumerate(training.classes))
        notes = "; ".join(map(escape, training.notes))
        rows.setdefault(training.dataset, {
            "data": escape(training.dataset), "training images": f"{training.training_images:,}",
            "classes (training images of each)": classes} | ({"left out": notes} if notes else {}))
    return ["## The data", pd.DataFrame(rows.values()).fillna("")] if rows else []


def best_first(collected):
    """The studies, that of the best classifier (on real images alone) first. One that repeats another's chosen setting
    of the generator with the same parameters is left out: it is no second piece of evidence."""
    different = {}
    for step in collected.studies:
        values = {name: value for name, value in step.config.items() if name not in ("generate_runs", "run_dir")}
        different.setdefault(repr((step.result.generator, values)) if step.result.generator else step, step)
    return sorted(different.values(), key=lambda step: -step.result.arm(REAL).accuracy.value)


def answer(collected):
    """The answer of each study, and the smallest gain that it could have seen."""
    steps = best_first(collected)
    if not steps:
        return []
    answers = {escape(collected.names[step]): tables.answer(step) for step in steps}
    table = pd.DataFrame(answers).dropna(how="all")
    return ["## The answer", "Means over the repetitions, with 95 % intervals. A gain below the smallest one may exist "
            "and stay hidden. Macro recall (balanced accuracy) is the mean of the classes' recalls: in it a rare class "
            "counts as much as a common one.", table.fillna("").rename_axis("").reset_index()]


def studies(collected):
    blocks = []
    for step in best_first(collected):
        label = {"study": step.label}
        blocks += [f"## {escape(collected.names[step])}",
                   "Accuracies and gains are means over the repetitions, with 95 % intervals.",
                   tables.arms(step.result, step.macro), figure("gains", **label), figure("recall", **label)]
        if step.recalls is not None:
            blocks += ["The recall of each class, in percent, beside the numbers of its images:", tables.recalls(step)]
        if step.result.between:
            blocks += [f"Settings of the generator against each other: the accuracy of *{MIXED}* at equal updates. The "
                       f"setting chosen on validation images, {escape(step.result.setting)}, is the one above.",
                       tables.between(step.result)]
        if step.result.optimum:
            blocks += ["Each arm with the updates and the learning rate that were best for it on validation images:",
                       tables.optimum(step.result)]
    if len(shown := best_first(collected)) > 1:
        blocks += ["## All studies", figure("forest", studies=tuple(step.label for step in shown),
                                            kinds=("rival", "synthetic", "optimum"))]
    return blocks + generators(collected)


def generators(collected):
    """How near the generators are and what they add, where a study has several of them."""
    known = collected.with_generator_gains
    if not any(len(step.result.generator_gains) > 1 for step in known):
        return []
    return ["## How near the generator is, and how scarce the real images are", tables.generators(known),
            figure("generators")]


def doses(collected):
    return ["## How many real images a synthetic one is worth",
            *(block for step in collected.doses for block in
              (tables.exchange(step.result), figure("worth", dose=step.label)))] if collected.doses else []


def images(collected):
    """The images and their quality; without the data, or the images, only the numbers."""
    if not collected.generations:
        return []
    seen = [figure("images")] if collected.main[1][0].sheet else []
    return ["## The synthetic images", *seen, tables.images(collected.families(Generation)), figure("quality"),
            *from_elsewhere(collected)]


def from_elsewhere(collected):
    """What is known of images that another generator made, and whether they are suspiciously close to the test."""
    if not collected.externals:
        return []
    return ["### Images from elsewhere",
            "Another generator made these images. Nothing is known here of what it learned from. If it learned from "
            "the test images, the gains are too large. None of its images is a test image (at most one grey level "
            "apart, as it is or mirrored). The table counts those that lie closer to a test image than almost all "
            "training images of their class do, beside as many as there would be by chance.",
            tables.near_test(collected.families(External))]


def walks(collected):
    walked = [step for step in collected.ablations if step.result.walks]
    return [block for step in walked for block in
            ("## What a limit on the estimated image does", tables.walks(step.result), figure("walks"))]


def limits(collected):
    lines = ["Distances and coverage come from a network of this project; published ones do not compare."] * bool(
        collected.generations)
    for step in collected.studies:
        study, name = step.result, escape(collected.names[step])
        repeated = (f"{study.replicates} repetitions of the whole experiment, which draw from one data set"
                    if study.replicates else f"{study.generators} generator(s) and {study.seeds} classifier seeds on "
                    "one split of the data: they say nothing of another split")
        same = "" if not isinstance(step.generation.result, External) else (
            "; the synthetic images are the same ones in each, so they say nothing of another generator")
        lines.append(f"{name}: the intervals cover {repeated}{same}.")
        if len(step.config.get("lrs", [0, 0])) == 1:
            lines.append(f"{name}: one learning rate was tried ({step.config['lrs'][0]:g}).")
        if any(arm.edge for arm in study.optimum):
            lines.append(f"{name}: for some arms the longest or shortest training tried was best; a better length may "
                         "lie beyond.")
        if not study.optimum:
            lines.append(f"{name}: one length of training was tried ({study.arm('real').steps:,} updates).")
    return ["## Limits", "\n".join(f"- {line}" for line in lines)] if lines else []


# ---------------------------------------------------------------- behind every page
def appendix(collected):
    """Every number of a plan, and where it comes from."""
    blocks = []
    if collected.studies:
        blocks.append("## Appendix: every arm of every study")
    for step in collected.studies:
        blocks += [f"### {escape(collected.names[step])}", tables.arms(step.result, step.macro)]
        blocks += [tables.contrasts(step.result)] if step.result.contrasts else []
        if step.result.optimum:
            blocks += ["Each arm at its own optimum on validation images:", tables.optimum(step.result)]
    networks, generators = collected.families(Training), collected.families(Generation)
    if networks:
        blocks += ["## Appendix: the networks and their images", tables.trainings(networks)]
        if generators:
            blocks.append(tables.images(generators))
        if all(step.run and step.run.path("history.csv").exists() for step in collected.trainings):
            blocks.append(figure("losses"))
    return [*blocks, "## Appendix: where the numbers come from", provenance(collected),
            tables.runs_made(collected.steps)]


def provenance(collected):
    """Where and with what the runs and the page were made."""
    own = collected.provenance
    versions = ", ".join(f"{name} {version}" for name, version in own.get("versions", {}).items())
    accepted = [f"{step.name} ({escape(entry['because'])})" for step in collected.steps if step.run
                for entry in step.run.provenance.get("accepted", [])]
    text = (f"The commits below made the runs; commit {own.get('words', 'unknown')} wrote this page. The same versions "
            "on the same processor give the same numbers; on another processor last digits differ, and a choice near a "
            f"tie can fall the other way. Versions: Python {own.get('python', '')}, {versions}.")
    return text + (f" Accepted as current after a change of the code: {'; '.join(accepted)}." if accepted else "")
