"""The pages around the reports: the front page of a folder of reports, and the page that explains a report's data."""
from pathlib import Path
from urllib.parse import quote

import jinja2
import pandas as pd
from bs4 import BeautifulSoup

from lib import ROOT
from lib.report.runs import read_json, write_atomic

TEMPLATE = ROOT / "reports" / "template"
ABOUT = ("A student paper saw a small network rise from 44 % to 46.47 % when a diffusion model's images joined its "
         "training set. These reports repeat the experiment with controls.")

FILES = {       # of a run
    "config.json": "all parameters of the run",
    "result.json": "what it measured, with types; every number with its interval",
    "provenance.json": "commit, versions, device, time, and the sha256 of each file",
    "history.csv": "the training: a row for each interval of logging",
    "predictions.npz": "predicted labels of the test images: labels (N,), arms, and arm_0, arm_1, ... in their order, "
                       "one row for each network; -1: not tested",
    "sheets.npz": "the images that figures show: real, synthetic, path (N, C, H, W), 0 to 255",
    "notebook.html": "the executed notebook, as a page",
    "notebook.ipynb": "the executed notebook, for JupyterLab"}
COLUMNS = {     # of the tables
    "accuracy value": "test accuracy in percent", "accuracy low": "lower end of its 95 % interval",
    "accuracy high": "upper end of its 95 % interval", "accuracy n": "networks or repetitions",
    "arm": "way to train",
    "gain value": "change of test accuracy against real images, in points",
    "gain low": "lower end of its 95 % interval",
    "gain high": "upper end of its 95 % interval", "gain p": "p-value of 'no difference'",
    "steps": "updates",
    "gain df": "degrees of freedom of the interval", "validation": "accuracy on validation images, in percent",
    "sd": "standard deviation over the networks", "lr": "learning rate",
    "edge": "whether the best length is the shortest or longest tried", "images": "images seen",
    "loss": "training loss", "grad_norm": "norm of the gradient",
    "seconds": "since the start", "label_agreement": "synthetic images that a judge recognises, in percent",
    "coverage": "real images that a synthetic one comes near to, in percent",
    "coverage_perfect": "the same for other real images", "change of recall": "in points", "p": "p-value, after Holm's "
    "correction where several are asked", "x": "dose", "low": "lower end of the 95 % interval", "high": "upper end",
    "variance": "part of the variance of the gain, points squared", "n": "how many"}


def render(file, **values):
    """Write one of these pages."""
    source = (TEMPLATE / "front.html.j2").read_text(encoding="utf-8")
    css = (TEMPLATE / "page.css").read_text(encoding="utf-8")
    page = jinja2.Environment(autoescape=True).from_string(source).render(css=css, **{
        "cards": [], "sections": [], "back": ""} | values)
    return write_atomic(file, page)


def headline(html):
    """(title, deck) of a report's page."""
    page = BeautifulSoup(html.read_text(encoding="utf-8"), "html.parser")
    deck = page.select_one("p.deck")
    return page.h1.get_text(), deck.get_text() if deck else ""


def write_front(folder):
    """Write index.html: for each report in `folder` a card with title, picture and deck, and its executed notebooks.
    Returns the page."""
    cards, executed = [], []
    for file in sorted(Path(folder).glob("[!.]*/plan.json")):
        html = file.with_name("report.html")
        if html.is_file():
            title, deck = headline(html)
            place = quote(file.parent.name)
            picture = f"{place}/picture.png" if file.with_name("picture.png").is_file() else ""
            cards.append({"title": title, "deck": deck, "href": f"{place}/report.html", "pdf": f"{place}/report.pdf",
                          "data": f"{place}/data.html", "picture": picture})
            executed += [[title, *({"text": text, "href": f"{place}/{quote(run)}/notebook.{kind}"}
                                   for text, kind in ((run, "html"), ("notebook.ipynb", "ipynb")))]
                         for run in read_json(file)["runs"] if (file.parent / run / "notebook.ipynb").is_file()]
    notebooks = {"title": "The executed notebooks", "columns": ["report", "as a page", "for JupyterLab"],
                 "rows": executed, "text": "Every number of the reports was computed in one of these."}
    return render(Path(folder) / "index.html", title="Dreaming Data", cards=cards,
                  deck=ABOUT if Path(folder).name == "published" else "", sections=[notebooks] if executed else [])


def write_data_page(folder):
    """Write data.html, which says what each file of a report's site and each column of its tables is."""
    folder, names = Path(folder), {}
    about = read_json(folder / "plan.json")
    rows = []
    for label in about["runs"]:
        files = sorted(p for p in (folder / label).rglob("*") if p.is_file())
        for file in files:
            place = file.relative_to(folder).as_posix()
            if file.suffix == ".csv":
                names |= dict.fromkeys(pd.read_csv(file, nrows=0).columns)
            what = FILES.get(file.name) or f"table {file.stem!r} of the result"
            rows.append([label, {"text": file.relative_to(folder / label).as_posix(), "href": quote(place)}, what])
    together = [["all runs", {"text": f"tables/{file.name}", "href": f"tables/{quote(file.name)}"},
                 f"{file.stem} of all runs together"] for file in sorted(folder.glob("tables/*.csv"))]
    known = [[name, COLUMNS[name]] for name in names if name in COLUMNS]
    return render(folder / "data.html", title=f"The data of: {headline(folder / 'report.html')[0]}",
                  deck="Every file that the report was made from, and what its columns mean. CSV files are UTF-8 text "
                       "with commas; .npz files open with numpy.load.",
                  back="report.html",
                  sections=[{"title": "Columns", "text": "", "columns": ["column", "meaning"], "rows": known},
                            {"title": "Files", "text": "", "columns": ["run", "file", "what it is"],
                             "rows": together + rows}])
