"""Executed notebooks -> one self-contained HTML page -> a PDF of the same content.

The page holds no script and asks no host for anything: TeX becomes MathML while the page is made (math-core), the math
font and the figures are inside. The PDF is set by Typst from that page, with wheels from PyPI only.
"""
import base64
import copy
import html as html_text
import json
import re
import tempfile
from pathlib import Path

import nbformat
import pypandoc
import typst
from bs4 import BeautifulSoup
from jinja2 import pass_context
from markupsafe import Markup
from math_core import LatexError, LatexToMathML
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from lib import ROOT
from lib.runs import write_atomic

TEMPLATE = ROOT / "reports" / "template"
COLUMN = 736                # width of the page's text column, px
WIDGET_VIEW, WIDGET_STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
SHOWN = ("image/png", "text/html", "text/markdown", "text/plain")      # other kinds of output could hold a script
HIDDEN = {"cells": {"parameters", "injected-parameters", "remove-cell"}, "inputs": {"remove-input"},
          "outputs": {"remove-output"}}


# ---------------------------------------------------------------- notebooks
def tidy(notebook):
    """A copy that reads well on paper: widgets as last shown; no progress lines, warnings or hidden cells."""
    notebook = copy.deepcopy(notebook)
    widgets = notebook.metadata.pop("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    cells = []
    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", []))
        if tags & HIDDEN["cells"]:
            continue
        if cell.cell_type == "code":
            cell.outputs = [o for output in cell.outputs for o in shown(output, widgets)]
            cell.outputs = [] if tags & HIDDEN["outputs"] else cell.outputs
            cell.source = "" if tags & HIDDEN["inputs"] else cell.source
        cells.append(cell)
    notebook.cells = cells
    return notebook


def shown(output, widgets):
    """The outputs that stand for `output` on paper: none, itself without unsafe kinds, or a widget's last pictures."""
    if output.output_type == "stream":
        return [output] if output.name == "stdout" else []
    if output.output_type == "error":
        return [output]
    if output.metadata.get("progress"):
        return []
    if view := output.data.get(WIDGET_VIEW):
        return [o for o in last_shown(view["model_id"], widgets) for o in shown(nbformat.from_dict(o), widgets)]
    output.data = {kind: value for kind, value in output.data.items() if kind in SHOWN}
    return [output] if output.data else []


def last_shown(model, widgets):
    """What the Output areas below a widget held when the notebook was saved."""
    entry = widgets.get(model, {})
    state = entry.get("state", {})
    found = list(state.get("outputs", [])) if entry.get("model_name") == "OutputModel" else []
    for child in state.get("children") or []:
        found += last_shown(child.removeprefix("IPY_MODEL_"), widgets)
    return found


def shift_headings(markdown, letter):
    """An appendix's headings: its h1 becomes 'Appendix <letter>: ...' at level 2, the others go down one level."""
    def lower(match):
        words = f"Appendix {letter}: {match[2]}" if match[1] == "#" else match[2]
        return f"#{match[1]} {words}"
    return re.sub(r"(?m)^(#{1,4}) +(.+)$", lower, markdown)


def join(notebooks):
    """One notebook: the first as it is, each further one as an appendix."""
    article, *appendices = [tidy(nbformat.read(path, as_version=4)) for path in notebooks]
    for letter, appendix in zip("ABCDEFGH", appendices, strict=False):
        for number, cell in enumerate(appendix.cells):
            cell.id = f"{letter}-{number}"
            if cell.cell_type == "markdown":
                cell.source = shift_headings(cell.source, letter)
        article.cells += appendix.cells
    return article


# ---------------------------------------------------------------- HTML
TAG = re.compile(r"\\tag\{([^}]*)\}")


class Formulas:
    """TeX -> MathML that keeps its TeX as an annotation; \\tag{...} stands at the right of its formula.

    ValueError for a formula that math-core refuses.
    """

    def __init__(self):
        self.converter = LatexToMathML(macros={}, annotation=True)

    def __call__(self, tex, display):
        tags = TAG.findall(tex)
        try:
            formula = self.converter.convert_with_local_state(TAG.sub("", tex).strip(), displaystyle=display)
        except LatexError:
            raise ValueError(f"the formula {tex.strip()!r} cannot be typeset") from None
        tag = "".join(f'<span class="tag">({html_text.escape(t)})</span>' for t in tags)
        return f'<div class="equation">{formula}{tag}</div>' if display else formula


class Renderer(IPythonRenderer):
    """nbconvert's Markdown renderer with typeset formulas."""

    def __init__(self, formulas, **options):
        super().__init__(**options)
        self.formulas = formulas

    def inline_math(self, body):
        return self.formulas(body, False)

    def block_math(self, body):
        return self.formulas(body, True)

    def latex_environment(self, name, body):
        return self.formulas(rf"\begin{{{name}}}{body}\end{{{name}}}", True)


class PageExporter(HTMLExporter):
    """nbconvert's HTML exporter with our template, typeset formulas and no outside resources."""

    def __init__(self, **options):
        super().__init__(extra_template_basedirs=[str(TEMPLATE.parent)], template_name=TEMPLATE.name, **options)
        self.formulas = Formulas()

    @property
    def default_config(self):
        config = super().default_config.copy()
        config.merge(Config({"HTMLExporter": {"exclude_anchor_links": True}}))
        return config

    @pass_context
    def markdown2html(self, context, source):
        renderer = Renderer(self.formulas, escape=False, exclude_anchor_links=True)
        return Markup(MarkdownWithMath(renderer=renderer).render(source))

    def _init_resources(self, resources):
        resources = super()._init_resources(resources)
        font = (TEMPLATE / "stix-two-math-subset.woff2").read_bytes()
        resources["math_font"] = base64.b64encode(font).decode()
        resources["code_light"] = HtmlFormatter(style="default").get_style_defs(".highlight")
        resources["code_dark"] = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
        return resources


def write_html(notebooks, html, title=None):
    """Write the page of the executed `notebooks` (paths; the first is the article, the others are appendices).

    title: of the browser's tab, by default the article's h1. ValueError for a formula that cannot be typeset and for
    a figure without alt text; then no file is written.
    """
    body, _ = PageExporter().from_notebook_node(join(notebooks))
    page = BeautifulSoup(body, "html.parser")
    make_safe(page)
    for image in page.select("main img"):
        if not image.get("alt", "").strip():
            raise ValueError("a figure has no alt text: show it with run.figure(fig, name, alt, caption)")
    mend_tables(page)
    add_contents(page)
    heading = page.select_one("main h1")
    page.title.string = title or (heading.get_text() if heading else "Report")
    return write_atomic(html, str(page))


def make_safe(page):
    """Take out everything that could run or load: class names of a user's folder reach the page."""
    for element in page.select("script, iframe, object, embed, link, base, form, main style"):
        element.decompose()
    for element in page.find_all(True):
        for name in list(element.attrs):
            unsafe = str(element[name]).strip().lower().startswith(("javascript:", "data:text"))
            if name.startswith("on") or name == "tabindex" or (name in ("href", "src", "action") and unsafe):
                del element[name]
        if element.name == "img" and not element.get("src", "").startswith("data:image/"):
            element.decompose()


def mend_tables(page):
    """Plain tables that scroll by themselves on a narrow screen."""
    for table in page.select("main table"):
        for element in [table, *table.find_all(True)]:
            for name in ("border", "id", "class", "style"):
                element.attrs.pop(name, None)
        for cell in table.select("thead th"):
            if not cell.get_text(strip=True):
                cell.name = "td"
        table.wrap(page.new_tag("div", attrs={"class": "table", "role": "region", "aria-label": "table",
                                              "tabindex": "0"}))


def add_contents(page):
    """Give every section an id and a line in the contents."""
    contents, used = page.select_one("nav ol"), set()
    for heading in page.select("main h2, main h3"):
        base = slug = re.sub(r"\W+", "-", heading.get_text().lower()).strip("-") or "section"
        number = 2
        while slug in used:
            slug, number = f"{base}-{number}", number + 1
        used.add(slug)
        heading["id"] = slug
        line = page.new_tag("li", attrs={"class": heading.name})
        link = page.new_tag("a", href=f"#{slug}")
        link.string = heading.get_text()
        line.append(link)
        contents.append(line)


# ---------------------------------------------------------------- PDF
def write_pdf(html, pdf):
    """Set the page `html` (made by write_html) as an A4 PDF: same text and figures, without the folded code."""
    page = BeautifulSoup(Path(html).read_text(encoding="utf-8"), "html.parser")
    title, main = page.title.get_text(), page.select_one("main")
    with tempfile.TemporaryDirectory() as folder:
        alts = prepare(page, main, Path(folder))
        text = pypandoc.convert_text(str(main), "typst", format="html", extra_args=["--wrap=none"])
        source = Path(folder) / "page.typ"
        head = (TEMPLATE / "page.typ").read_text(encoding="utf-8").replace("TITLE", json.dumps(title))
        source.write_text(head + mend_typst(text, alts), encoding="utf-8")
        return write_atomic(pdf, typst.compile(str(source)))


def prepare(page, main, folder):
    """Turn what pandoc would lose into what it keeps; write the figures as files. Returns {file: alt text}."""
    for element in main.select("details, h1"):
        element.decompose()
    for formula in main.select("math"):
        kind = "math/tex; mode=display" if formula.get("display") == "block" else "math/tex"
        script = page.new_tag("script", type=kind)
        script.string = formula.select_one("annotation").get_text()
        if tag := formula.find_next_sibling("span", class_="tag"):
            script.string += rf"\qquad \text{{{tag.extract().get_text()}}}"
        formula.replace_with(script)
    alts = {}
    for number, image in enumerate(main.select("img")):
        name = f"figure-{number}.png"
        (folder / name).write_bytes(base64.b64decode(image["src"].split(",", 1)[1]))
        alts[name] = image["alt"]
        image["src"] = name
        image["width"] = f"{min(100, round(100 * int(image.attrs.pop('width', COLUMN)) / COLUMN))}%"
        image.attrs.pop("height", None)
    for table in main.select("div.table"):
        table.unwrap()
    return alts


def mend_typst(text, alts):
    """Repair pandoc's Typst: alt texts, narrow spaces (\\! and \\; in TeX), columns as wide as their words."""
    for theirs, ours in (("align(center)[#table", "align(left)[#table"), ("#h(-1em)", "#h(-0.17em)"),
                         ("#h(0em)", "#h(0.28em)")):
        text = text.replace(theirs, ours)
    text = re.sub(r'image\("(figure-\d+\.png)"', lambda m: f'image("{m[1]}", alt: {json.dumps(alts[m[1]])}', text)
    return re.sub(r"columns: \(?[\d.%, ]+\)?,", lambda m: f"columns: {count_columns(m[0])},", text)


def count_columns(columns):
    """'columns: (10%, 20%)' -> 2; 'columns: 3' -> 3."""
    inside = columns.removeprefix("columns:").strip(" ,()")
    return inside if "%" not in inside else str(inside.count("%"))


