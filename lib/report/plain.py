"""The plain report: the page of a plan without an authored article, in fixed words around its numbers.

It says what the data are, which effect the study could have seen, then a table and figures for each study, the quality
of the images, limits, and where the numbers come from. `appendix` closes the authored articles too.
"""
import datetime

import pandas as pd

from lib.report import tables
from lib.report.article import Block
from lib.report.drawings import FIGURES
from lib.report.results import Generation, Training, number
from lib.report.text import escape
from lib.study import statistics


def page(collected):
    """The page up to its appendix: Markdown texts, tables and Blocks, the title first."""
    about = f'\n\n<p class="deck">{escape(collected.about)}</p>' if collected.about else ""
    return [f"# {escape(collected.title or 'Report')}{about}", *data(collected), *power(collected), *studies(collected),
            *doses(collected), *images(collected), *walks(collected), *limits(collected)]


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
    for step in collected.trainings:
        training = step.result
        counts = training.class_counts
        classes = ", ".join(f"{escape(name)} {counts[k]:,}" if counts else escape(name)
                            for k, name in enumerate(training.classes))
        notes = "; ".join(map(escape, training.notes))
        rows.setdefault(training.dataset, {
            "data": escape(training.dataset), "training images": f"{training.training_images:,}",
            "classes (training images of each)": classes} | ({"left out": notes} if notes else {}))
    return ["## The data", pd.DataFrame(rows.values()).fillna("")] if rows else []


def power(collected):
    """The smallest gain that each study could have seen, before what it saw."""
    rows = []
    for step in collected.studies:
        study = step.result
        more = statistics.repetitions_for_half(study.variance)
        rows.append({
            "study": escape(collected.names[step]), "repetitions": f"{study.replicates or 1}",
            "test images": f"{study.test_images:,}",
            "smallest gain found four times in five, points":
                number(study.detectable) if study.detectable else "unknown: too few repetitions",
            "repetitions that would find half of it": f"{more:,}" if more else "more test images are needed"})
    return ["## What this experiment could see", "A smaller gain than these may exist and stay hidden.",
            pd.DataFrame(rows)] if rows else []


def studies(collected):
    blocks = []
    for step in collected.studies:
        label = {"study": step.label}
        blocks += [f"## {escape(collected.names[step])}",
                   "Accuracies and gains are means over the repetitions, with 95 % intervals.",
                   tables.arms(step.result), figure("gains", **label), figure("recall", **label)]
        if step.result.optimum:
            blocks += ["Each arm with the updates and the learning rate that were best for it on validation images:",
                       tables.optimum(step.result)]
    if len(collected.studies) > 1:
        blocks += ["## All studies", figure("forest")]
    return blocks + generators(collected)


def generators(collected):
    """How near the generators are and what they add, where a study has several of them."""
    known = {step.label: step.result for step in collected.studies if step.result.generator_gains}
    if not any(len(study.generator_gains) > 1 for study in known.values()):
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
    return ["## The synthetic images", *seen, tables.images(collected.families(Generation)), figure("quality")]


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
        lines.append(f"{name}: the intervals cover {repeated}.")
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
        blocks += [f"### {escape(collected.names[step])}", tables.arms(step.result)]
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
