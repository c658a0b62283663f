"""The small site that a report is, from runs made by hand."""
import pypdf
import pytest
from bs4 import BeautifulSoup
from test_page import TEXT, code, picture, write

from lib.report.runs import Run
from lib.report.site import links, write_site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    run = folder / "train" / "cosine"
    (run / "tables").mkdir(parents=True)
    write(run, "notebook.ipynb", [TEXT("# Training"), code(source="train()")])
    (run / "tables" / "loss.csv").write_text("t,loss\n1,2\n")
    (run / "history.csv").write_text("done,loss\n")
    (folder / "build" / "runs").mkdir(parents=True)
    (folder / "build" / "runs" / "train-old.html").write_text("old")
    article = write(folder, "a.ipynb", [TEXT("# A finding"), code(picture(name="loss", links=links(Run(run), "loss")))])
    write_site(article, [run, folder / "train" / "missing"], folder / "build", title="digits")
    return folder / "build"


def test_it_has_the_report_and_a_page_and_data_for_each_run_and_nothing_old(site):
    assert sorted(str(p.relative_to(site)) for p in site.rglob("*.*") if p.is_file()) == [
        "data/train-cosine-history.csv", "data/train-cosine-loss.csv", "report.html", "report.pdf", "runs/train-cosine.html"]


def test_every_relative_link_leads_to_a_file(site):
    for file in site.rglob("*.html"):
        hrefs = [a["href"] for a in BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser").select("main a[href]:not([href^='#'])")]
        assert hrefs and all((file.parent / href).is_file() for href in hrefs)


def test_the_pdf_keeps_the_links(site):
    actions = [a.get_object()["/A"].get("/URI") for p in pypdf.PdfReader(site / "report.pdf").pages for a in p.get("/Annots", [])]
    assert {"runs/train-cosine.html", "data/train-cosine-loss.csv"} <= set(actions)
