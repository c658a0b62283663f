"""The smoke plan's report as it is read: its outline, the form of its numbers, and where its links lead."""
import re

import pytest
from bs4 import BeautifulSoup

pytestmark = [pytest.mark.slow, pytest.mark.smoke]


@pytest.fixture(scope="module")
def words(report):
    """The page's text without formulas and code, and that of its tables alone."""
    page = BeautifulSoup(str(report[2].main), "html.parser")
    for element in page.select("math, code, pre"):
        element.decompose()
    return page.get_text(" "), " ".join(table.get_text(" ") for table in page.select("table"))


def test_the_outline_is_that_of_the_article(report):
    assert [h.get_text().partition(" Noise")[0] for h in report[2].select("main h2")] == [
        "What was compared", "Was it the images?", "Which mistakes vanished?", "Are the images good and new?",
        "How many synthetic images is a real one worth?", "The original paper's claims",
        "Limits, and what would change our mind", "Where the numbers come from", "References", "Appendix A: every arm",
        "Appendix B: training", "Appendix C: images of every generator", "Appendix D:"]


def test_the_front_answers_and_shows_before_it_explains(report):
    main = report[2].main
    front = [e for e in main.find_all(recursive=False) if not e.find_previous_sibling("h2") and e.name != "h2"]
    assert [e.get("id") or " ".join(e.get("class", [])) or e.name for e in front] == [
        report[2].h1["id"], "byline", "numbers", "fig-front", "fig-forest", "abstract"]
    assert report[2].h1.get_text().startswith("Synthetic digits ")
    assert report[2].title.get_text() == report[2].h1.get_text()
    assert "plan smoke" in report[2].select_one(".byline").get_text()


def test_a_minus_is_a_minus_and_no_number_has_an_exponent_in_letters(words):
    text, tables = words
    assert not re.search(r"(?<![\w.,)/-])-\d", tables)
    assert not re.search(r"\d[eE][-+−]\d", text)
    assert not re.search(r"p [=<] 0\.0000|\bnan\b|\bNone\b", text)


def test_a_gain_has_one_decimal_and_an_interval(report):
    for item in report[2].select("ul.numbers li"):
        assert re.fullmatch(r"[+−]?\d+\.\d points", item.strong.get_text())
        assert re.search(r"\((95 % interval )?[+−]?\d+\.\d to [+−]?\d+\.\d\)\.$", item.get_text())


def test_every_link_leads_somewhere(report, root):
    page, build = report[2], root / "reports" / "build" / "smoke"
    links = {a["href"] for a in page.select("a[href]")}
    inside = {href for href in links if href.startswith("#")}
    outside = {href for href in links - inside if ":" in href}
    assert {href for href in inside if not page.find(id=href[1:])} == set()
    assert {href for href in outside if not href.startswith("https://arxiv.org/")} == set()
    assert {href for href in links - inside - outside if not (build / href).exists()} == set()
    assert "runs/augment-cosine.html" in links and "data/augment-cosine-arms.csv" in links


def test_an_explorer_has_no_place_in_a_report(words):
    assert "JupyterLab" not in words[0]


def test_the_body_has_at_most_eight_pages(report):
    pages = [page.extract_text() for page in report[3].pages]
    first = next(k for k, text in enumerate(pages) if re.search(r"^Appendix A: every arm$", text, re.M))
    assert first <= 8
