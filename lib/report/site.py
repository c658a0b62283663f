"""A report as a small site that works from the disk and on any static host.

    <folder>/report.html, report.pdf
    <folder>/data.html              what each file and column is
    <folder>/../index.html          a card for each report beside it
    <folder>/picture.png            the page's first figure
    <folder>/tables/                numbers of all runs together
    <folder>/plan.json              the plan's name, title, about, and its runs in order
    <folder>/<step>/<name>/         of each run what a page is made from (see `keep`), and the executed notebook, as a
                                    page and as notebook.ipynb, which a code host shows

Since it holds what its page is made from, the page can be told again from it, on a machine without the runs.
"""
import shutil
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from lib.report import runs
from lib.report.results import Generation

KEPT = ("config.json", "result.json", "history.csv", "tables/*.csv")      # of a run, as they are


def links(label, table=""):
    """The addresses, as seen from report.html, of the page of the run 'train/cosine' and of one of its tables.

    table: the stem of a file in the run's tables/, or "history".
    """
    file = f"{label}/history.csv" if table == "history" else f"{label}/tables/{table}.csv"
    return {"notebook": quote(f"{label}/notebook.html")} | ({"data": quote(file)} if table else {})


def keep(step, folder):
    """Copy what a page is made from of a finished run (a collected.Step) to `folder`, a thin run folder: parameters,
    result, history, tables, a study's predictions in 8 bits, a generation's sheet of images; no networks, no images."""
    shutil.rmtree(folder, ignore_errors=True)
    for file in (file for pattern in KEPT for file in step.run.folder.glob(pattern)):
        copy = folder / file.relative_to(step.run.folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    if step.run.path("predictions.npz").exists():
        with np.load(step.run.path("predictions.npz")) as predictions:
            np.savez_compressed(folder / "predictions.npz", **{name: narrow(predictions[name]) for name in predictions})
    if isinstance(step.result, Generation) and step.sheet:
        sheet = {name: images for name, images in step.sheet._asdict().items() if images is not None}
        np.savez_compressed(folder / "sheets.npz", **sheet)
    files = sorted(file for pattern in ("history.csv", "tables/*.csv", "*.npz") for file in folder.glob(pattern))
    made = step.run.provenance
    runs.write_json(folder / "provenance.json", {name: value for name, value in made.items() if name != "pages"} | {
        "files": {file.relative_to(folder).as_posix(): runs.sha256(file) for file in files}})


def narrow(labels):
    """Whole numbers as int8 where they fit; -1 is an image that was not tested."""
    whole = np.issubdtype(labels.dtype, np.integer) and labels.size
    return labels.astype(np.int8) if whole and labels.min() >= -1 and labels.max() <= 127 else labels


def write_site(article, collected, folder, title=None, appendices=()):
    """Write the site of an executed `article` (a notebook's path) and the runs that it tells of into `folder`.

    title: of the browser's tab, by default the article's h1. appendices: notebooks that follow in the article. What
    the folder holds of other runs goes; a run without a notebook has no page. Returns the path of report.html.
    InputError for what an article must not hold (see write_html).
    """
    # not before: notebooks import this module for `links`
    from lib.report.front import write_data_page, write_front
    from lib.report.page import write_html

    folder = Path(folder)
    for step in collected.steps:
        place = folder / step.name
        if step.run.folder != place:
            keep(step, place)
        if step.run.folder != place and (notebook := step.run.folder / "notebook.ipynb").exists():
            shutil.copyfile(notebook, place / "notebook.ipynb")
            write_html([notebook], place / "notebook.html", title=step.name.replace("/", "-"),
                       run=True, up="../../report.html")
        elif step.run.folder != place and (page := step.run.folder / "notebook.html").exists():     # it was published
            shutil.copyfile(page, place / "notebook.html")
    for old in set(folder.glob("*/*/result.json")) - {folder / step.name / "result.json" for step in collected.steps}:
        shutil.rmtree(old.parent)
    for table in Path(article).parent.glob("tables/*.csv"):         # the article's own numbers
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(table, folder / "tables" / table.name)
    if (figures := Path(article).parent / "figures" / "figures.json").exists():
        first = next(iter(runs.read_json(figures)))
        shutil.copyfile(figures.with_name(f"{first}.png"), folder / "picture.png")
    runs.write_json(folder / "plan.json", {
        "plan": collected.plan, "title": collected.title, "about": collected.about,
        "runs": [step.name for step in collected.steps], "missing": list(collected.missing)})
    html = drop_dead_links(write_html([article, *appendices], folder / "report.html", title=title))
    write_data_page(folder)
    write_front(folder.parent)
    return html


def drop_dead_links(html):
    """Remove the links of a page to runs' pages that are not here, and make its PDF. Returns the page."""
    from bs4 import BeautifulSoup

    from lib.report.pdf import write_pdf

    page = BeautifulSoup(html.read_text(encoding="utf-8"), "html.parser")
    for link in page.main.select("a[href$='notebook.html']"):
        if (html.parent / unquote(link["href"])).exists():
            continue
        if not link.find_parent(class_="links"):            # in a sentence its words stay
            link.unwrap()
            continue
        for dot in (link.next_sibling, link.previous_sibling):
            if isinstance(dot, str) and dot.strip() == "·":
                dot.extract()
                break
        holder = link.parent
        link.decompose()
        if not holder.get_text(strip=True):
            holder.decompose()
    write_pdf(runs.write_atomic(html, str(page)), html.with_suffix(".pdf"))
    return html
