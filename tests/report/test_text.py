"""Words from outside stay words."""
import shutil
import warnings

import matplotlib.pyplot as plt
import pytest
from bs4 import BeautifulSoup
from matplotlib import font_manager
from test_page import TEXT, make

from lib.report import text
from lib.report.figures import to_png
from lib.report.text import escape, plain, scrub

NAMES = ["$a$ costs $5", "<b>a & b</b>", "# a_b_c ^2", "*a* `b` [c](d) ~~e~~", "1. a", "猫と犬", "x" * 60, "a|b", "\\(x\\)", "- a", "&lt;"]


@pytest.mark.parametrize("name", NAMES)
def test_an_escaped_name_shows_as_typed(tmp_path, name):
    page = make(tmp_path, TEXT(f"{escape(name)}\n\n| {escape(name)} | n |\n|---|---|\n| {escape(name)} | 1 |\n"))
    assert page.main.p.get_text() == page.th.get_text() == page.td.get_text() == name


def test_a_byte_that_is_no_letter_is_named():
    assert BeautifulSoup(escape("a\udcff"), "html.parser").get_text() == r"a\udcff"


@pytest.mark.parametrize("name", ["$a$", "猫", "\U000e0fff", "a_b^c", "$"])
def test_a_name_in_a_figure_is_no_formula_and_no_box(name):
    fig, ax = plt.subplots(figsize=(2, 1))
    ax.set_title(plain(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")                          # a glyph that is missing is a warning
        to_png(fig)


@pytest.mark.parametrize("words, shown", [
    ("see '/srv/me/course/x.py'", "see '…/x.py'"), (r"C:\Users\me\x.py", "…/x.py"), ("https://a.org/b/c", "https://a.org/b/c"),
    ("real/synthetic and 1/2", "real/synthetic and 1/2"), ("data:image/jpeg;base64,/9j/4AAQ/x", "data:image/jpeg;base64,/9j/4AAQ/x")])
def test_only_the_folders_of_a_machine_are_scrubbed(words, shown):
    assert scrub(words) == shown


def test_a_font_that_came_after_matplotlib_had_listed_the_fonts_is_found(tmp_path, monkeypatch):
    manager = font_manager.FontManager.__new__(font_manager.FontManager)
    manager.ttflist, manager.afmlist = [], []
    font = shutil.copy(font_manager.findfont("DejaVu Sans"), tmp_path)
    monkeypatch.setattr(text.font_manager, "fontManager", manager)
    monkeypatch.setattr(text.font_manager, "findSystemFonts", lambda: [font, str(tmp_path / "no font.ttf")])
    assert text.installed.__wrapped__() == {"DejaVu Sans": [font]}
