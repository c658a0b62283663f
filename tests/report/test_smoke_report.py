"""The smoke plan's report, a plain one, as it is read: its outline, the form of its numbers, where its links lead."""
import re

import pytest
from bs4 import BeautifulSoup

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


@pytest.fixture(scope="module")
def text(report):
    """The page's text without formulas and code, and that of its tables alone."""
    page = BeautifulSoup(str(report[2].main), "html.parser")
    for element in page.select("math, code, pre"):
        element.decompose()
    return page.get_text(" "), " ".join(table.get_text(" ") for table in page.select("table"))


def test_a_plain_report_begins_with_its_data_and_the_answer(report):
    headings = [h.get_text() for h in report[2].select("main h2")]
    assert headings[:2] == ["The data", "The answer"]
    assert report[2].title.get_text() == report[2].h1.get_text() == "Smoke test"


def test_a_plain_report_says_nothing_of_the_original_paper(text):
    assert "original paper" not in text[0].replace("as in the original paper", "")


def test_a_minus_is_a_minus_and_no_number_has_an_exponent_in_letters(text):
    assert not re.search(r"(?<![\w.,)/-])-\d", text[1])
    assert not re.search(r"\d[eE][-+−]\d", text[0])
    assert not re.search(r"p [=<] 0\.0000|\bnan\b|\bNone\b", text[0])


def test_every_link_leads_somewhere(report, root):
    page, build = report[2], root / "reports" / "build" / "smoke"
    links = {a["href"] for a in page.select("a[href]")}
    inside = {href for href in links if href.startswith("#")}
    outside = {href for href in links - inside if ":" in href}
    assert {href for href in inside if not page.find(id=href[1:])} == set()
    assert {href for href in outside if not href.startswith("https://arxiv.org/")} == set()
    assert {href for href in links - inside - outside if not (build / href).exists()} == set()
    assert "augment/cosine/notebook.html" in links and "augment/cosine/tables/arms.csv" in links


def test_an_explorer_has_no_place_in_a_report(text):
    assert "JupyterLab" not in text[0]


def test_ids_are_unique(report):
    ids = [element["id"] for element in report[2].select("[id]")]
    assert len(ids) == len(set(ids))
