"""Every formula of the notebooks, as MathJax typesets it in JupyterLab."""
import re

import nbformat
import pytest
from lab import BROWSER, chromium, jupyterlab
from nbformat.v4 import new_markdown_cell, new_notebook

from lib import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").rglob("[0-9a-z]*.ipynb"))
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$(?!\s)([^$\n]+?)(?<!\s)\$", re.S)
WRONG = "mjx-merror, [data-mjx-error], mjx-mtext[style*=red], mjx-mi[style*=red]"    # errors; commands that it lacks


def texts(path):
    return [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]


def formulas(text):
    return [a or b for a, b in FORMULA.findall(re.sub(r"`[^`]*`", "", text))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_bracket_and_environment_closes_and_no_tag_holds_an_ampersand(path):
    for tex in formulas("\n".join(texts(path))):
        assert tex.count("{") == tex.count("}") and len(re.findall(r"\\left\b", tex)) == len(re.findall(r"\\right\b", tex)), tex
        assert re.findall(r"\\begin\{(.+?)\}", tex) == re.findall(r"\\end\{(.+?)\}", tex), tex
        assert not re.search(r"\\tag\{[^}]*(?<!\\)&", tex), tex                # MathJax reads the & as a column's end


def in_jupyterlab(texts, folder):
    """(number of formulas, texts with a wrong one, texts too wide to be seen whole) of Markdown in JupyterLab."""
    (folder / "root").mkdir()
    nbformat.write(new_notebook(cells=[new_markdown_cell(text) for text in texts]), folder / "root/page.ipynb")
    with jupyterlab(folder) as address, chromium() as browser:
        page = browser.new_page()
        page.goto(f"{address}/lab/tree/page.ipynb?reset&token=test")
        page.locator("mjx-container").first.wait_for(state="attached", timeout=120_000)
        count, before = 1, 0
        while count != before:
            page.wait_for_timeout(2000)
            before, count = count, page.locator("mjx-container").count()
        wrong = page.evaluate("s => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].map(c => !!c.querySelector(s))", WRONG)
        wide = page.evaluate("[...document.querySelectorAll('.jp-RenderedMarkdown')].filter(m => m.scrollWidth > m.clientWidth)"
                             ".map(m => m.innerText)")
        return count, [text for text, is_wrong in zip(texts, wrong, strict=True) if is_wrong], wide


@pytest.mark.skipif(BROWSER is None, reason="no Chrome, Chromium or Edge is installed")
def test_jupyterlab_typesets_every_formula_but_the_two_wrong_ones(tmp_path):
    """Two planted ones show that a wrong one is seen."""
    right = [text for path in NOTEBOOKS for text in texts(path) if formulas(text)]
    planted = [r"$$x \tag{A & B}$$", r"Some $\notacommand$ here"]
    count, wrong, wide = in_jupyterlab(right + planted, tmp_path)
    assert wrong == planted and not wide
    assert count == len(formulas("\n".join(right))) + 2
