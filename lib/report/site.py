"""A report as a small site that works from the disk: the page, its PDF, the pages of its runs, and their data.

    <folder>/report.html, report.pdf
    <folder>/runs/<step>-<name>.html     the executed notebook of each run, with its code
    <folder>/data/<step>-<name>-<table>.csv
"""
import shutil
from pathlib import Path
from urllib.parse import quote


def links(run, table=None):
    """The addresses, as seen from report.html, of a run's page and of one of its tables: what run.figure takes.

    table: the stem of a file in the run's tables/, or "history".
    """
    found = {"notebook": quote(f"runs/{called(run.folder)}.html")}
    return found | ({"data": quote(f"data/{called(run.folder)}-{table}.csv")} if table else {})


def called(folder):
    """<step>-<name>: what the files of the run in `folder` are called."""
    return f"{folder.parent.name}-{folder.name}"


def copy_without_runs(html, folder):
    """Copy report.html and report.pdf to `folder`, without the links to the pages of runs, which stay behind."""
    from bs4 import BeautifulSoup

    from lib.report.pdf import write_pdf
    from lib.report.runs import write_atomic

    page = BeautifulSoup(Path(html).read_text(encoding="utf-8"), "html.parser")
    for link in page.main.select("a[href^='runs']"):
        for dot in (link.next_sibling, link.previous_sibling):
            if isinstance(dot, str) and dot.strip() == "·":
                dot.extract()
                break
        holder = link.parent
        link.decompose()
        if not holder.get_text(strip=True):
            holder.decompose()
    write_pdf(write_atomic(folder / "report.html", str(page)), folder / "report.pdf")


def write_site(article, runs, folder, title=None, appendices=()):
    """Write the site of an executed `article` (a notebook's path) and its `runs` (their folders) into `folder`.

    title: of the browser's tab, by default the article's h1. appendices: notebooks that follow in the article. Pages
    and data of runs that are no longer in `runs` go; a run without a notebook has no page. Returns the path of
    report.html. InputError for what an article must not hold (see write_html).
    """
    # not before: notebooks import this module for `links`
    from lib.report.page import write_html
    from lib.report.pdf import write_pdf

    folder, kept = Path(folder), set()
    for run in map(Path, runs):
        if (run / "notebook.ipynb").exists():
            page = folder / "runs" / f"{called(run)}.html"
            kept.add(write_html([run / "notebook.ipynb"], page, title=called(run), run=True, up="../report.html"))
    for run in map(Path, [*runs, Path(article).parent]):                # the article's own numbers too
        for table in sorted(run.glob("tables/*.csv")) + sorted(run.glob("history.csv")):
            copy = folder / "data" / f"{called(run)}-{table.name}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            kept.add(Path(shutil.copyfile(table, copy)))
    for old in {*folder.glob("runs/*.html"), *folder.glob("data/*.csv")} - kept:
        old.unlink()
    html = write_html([article, *appendices], folder / "report.html", title=title)
    write_pdf(html, html.with_suffix(".pdf"))
    return html
