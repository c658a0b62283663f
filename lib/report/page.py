"""Executed notebooks -> one self-contained HTML page.

The page holds no script and asks no host for anything: TeX becomes MathML while the page is made (math-core), the math
font and the figures are inside. The PDF is set by Typst from that page, with wheels from PyPI only.

What the page does with a notebook:
  tags       `parameters`, `remove-cell`, `explorer` (it is for JupyterLab): left out;
             `injected-parameters`: folded as "Parameters of this run";
             `remove-input`, `remove-output`: without code, without outputs; `show-input`: code in sight, in the PDF too
  opening    `# Title`, then if wanted a paragraph that is one *emphasis* (the subtitle) and a blockquote (the summary)
  figures    outputs whose metadata hold {"image/png": {"alt": text, "caption": Markdown, "width": px, "height": px}}
  formulas   are numbered by \\tag{...} only
"""
import base64
import copy
import html as html_text
import re
import string
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Comment
from jinja2 import pass_context
from markupsafe import Markup
from math_core import LatexError, LatexToMathML
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from lib import ROOT, InputError
from lib.report.runs import write_atomic

TEMPLATE = ROOT / "reports" / "template"
WIDE = 768                  # px: the widest a figure gets on the page; --wide in page.css
WIDGET_VIEW, WIDGET_STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
IMAGES = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg"}
HEADING = re.compile(r"h[1-6]")
KINDS = ("text/html", "text/markdown", "text/latex", *IMAGES, "text/plain")    # an output shows as the first it has


# ---------------------------------------------------------------- notebooks
def tidy(notebook, name):
    """A copy of `notebook` (of the file `name`) with what reads well on paper: see the top of this file.

    Also gone: progress lines, what was written to stderr, and live widgets, which leave what they last showed.
    InputError for an image without alt text.
    """
    notebook = copy.deepcopy(notebook)
    widgets = notebook.metadata.pop("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    cells = []
    for number, cell in enumerate(notebook.cells, 1):
        tags = set(cell.metadata.get("tags", []))
        if tags & {"parameters", "remove-cell", "explorer"}:
            continue
        if cell.cell_type == "code":
            outputs = [] if "remove-output" in tags else cell.outputs
            cell.outputs = [o for output in outputs for o in shown(output, widgets)]
            cell.source = "" if "remove-input" in tags else cell.source
            check_alt(cell.outputs, f"{name}, cell {number}")
        cells.append(cell)
    notebook.cells = cells
    return notebook


def shown(output, widgets):
    """The outputs that stand for `output` on paper: none, itself as one kind of KINDS, or a widget's last pictures."""
    if output.output_type == "stream":
        output.text = re.sub(r"(?m)^.*\r(?=.)", "", output.text)    # a line that wrote over itself: its last words
        return [output] if output.name == "stdout" else []
    if output.output_type == "error":
        return [output]
    if output.metadata.get("progress") or output.metadata.get("caption"):
        return []
    if view := output.data.get(WIDGET_VIEW):
        return [o for last in last_shown(view["model_id"], widgets) for o in shown(nbformat.from_dict(last), widgets)]
    kinds = [kind for kind in KINDS if kind in output.data]
    output.data = {kind: output.data[kind] for kind in kinds[:1]}
    return [output] if kinds else []


def last_shown(model, widgets):
    """What the Output areas at or below the widget `model` held when the notebook was saved."""
    entry = widgets.get(model, {})
    state = entry.get("state", {})
    found = list(state.get("outputs", [])) if entry.get("model_name") == "OutputModel" else []
    for child in state.get("children") or []:
        found += last_shown(child.removeprefix("IPY_MODEL_"), widgets)
    return found


def check_alt(outputs, where):
    """InputError, naming the cell `where`, if one of its images has no alt text."""
    for output in outputs:
        for kind in IMAGES:
            if kind in output.get("data", {}) and not str(output.metadata.get(kind, {}).get("alt", "")).strip():
                raise InputError(f"{where}: an image has no alt text; run.figure(fig, name, alt, caption) gives it one")


# ---------------------------------------------------------------- HTML
class Formulas:
    """TeX -> MathML that keeps its TeX as an annotation; \\tag{...} stands at the right of its formula.

    InputError for a formula that math-core refuses, with the formula and the reason.
    """

    TAG = re.compile(r"\\tag\{([^{}]*)\}")
    NUMBERED = re.compile(r"\\(begin|end)\{(align|gather|multline)\}")
    EQUATION = re.compile(r"\\(begin|end)\{equation\*?\}")

    def __init__(self):
        self.converter = LatexToMathML(annotation=True)

    def __call__(self, tex, display):
        if not display:
            return self.to_mathml(tex, tex, False)
        tag = self.TAG.search(tex)
        body = self.EQUATION.sub("", self.NUMBERED.sub(r"\\\1{\2*}", self.TAG.sub("", tex, count=1)))
        words = f'<span class="tag">({html_text.escape(tag[1])})</span>' if tag else ""
        return f'<span class="equation"><span class="formula">{self.to_mathml(body, tex, True)}</span>{words}</span>'

    def to_mathml(self, body, tex, display):
        try:
            return self.converter.convert_with_local_state(body.strip(), displaystyle=display)
        except LatexError as error:
            reason = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip().splitlines()[0].removeprefix("Error: ")
            raise InputError(f"the formula {tex.strip()!r} cannot be typeset: {reason}") from None


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
    """nbconvert's HTML exporter with our template and typeset formulas."""

    def __init__(self, **options):
        super().__init__(extra_template_basedirs=[str(TEMPLATE.parent)], template_name=TEMPLATE.name, **options)
        self.formulas = Formulas()
        self.register_filter("typeset", lambda tex: self.formulas(tex.strip().strip("$"), True))
        self.register_filter("balanced", balanced)

    @property
    def default_config(self):
        config = super().default_config.copy()
        config.merge(Config({"HTMLExporter": {"exclude_anchor_links": True}}))
        return config

    @pass_context
    def markdown2html(self, context, source):
        attached = context.get("cell", {}).get("attachments", {})
        renderer = Renderer(self.formulas, escape=False, exclude_anchor_links=True, attachments=attached)
        return Markup(balanced(MarkdownWithMath(renderer=renderer).render(source)))

    def _init_resources(self, resources):
        resources = super()._init_resources(resources)
        resources["css"] = (TEMPLATE / "page.css").read_text(encoding="utf-8")
        resources["math_font"] = base64.b64encode((TEMPLATE / "stix-two-math-subset.woff2").read_bytes()).decode()
        resources["code_light"] = HtmlFormatter(style="xcode").get_style_defs(".highlight")
        resources["code_dark"] = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
        return resources


def balanced(html):
    """HTML whose every tag is closed: what one cell leaves open must not swallow the next."""
    return str(BeautifulSoup(html, "html.parser"))


def write_html(notebooks, html, title=None):
    """Write the page of the executed `notebooks` (paths): the first is the article, the others are its appendices.

    title: of the browser's tab, by default the article's h1. Returns `html`. InputError (a ValueError) for a formula
    that cannot be typeset and for an image without alt text; then no file is written.
    """
    exporter = PageExporter()
    page, *appendices = [render(Path(path), exporter) for path in notebooks]
    for number, appendix in enumerate(appendices):
        page.main.extend(list(lowered(appendix.main, string.ascii_uppercase[number]).contents))
    make_safe(page)
    mark_opening(page, title)
    mend_tables(page)
    hold_together(page)
    let_scroll(page)
    add_contents(page)
    page.title.string = title or words(page.h1)
    return write_atomic(html, str(page))


def render(path, exporter):
    """The page of one notebook, as a soup. Headings have the ids that JupyterLab gives them: links to them hold."""
    body, _ = exporter.from_notebook_node(tidy(nbformat.read(path, as_version=4), path.name))
    page = BeautifulSoup(body, "html.parser")
    for heading in page.main.find_all(HEADING):
        heading["id"] = re.sub(r"\s", "-", words(heading))
    return page


def lowered(main, letter):
    """An appendix's headings: its h1 becomes an h2 'Appendix <letter>: ...', every other goes down one level."""
    for heading in main.find_all(HEADING):
        if heading.name == "h1":
            heading.insert(0, f"Appendix {letter}: ")
            heading["class"] = "appendix"
        heading.name = f"h{min(6, int(heading.name[1]) + 1)}"
    return main


UNSAFE = ("script, noscript, template, style, link, meta, base, iframe, frame, object, embed, applet, portal, svg, "
          "form, input, button, select, textarea, video, audio, source, track")
UNSAFE_ATTRIBUTE = re.compile(r"on.*|tabindex|contenteditable|autofocus|srcset|srcdoc|.*action|ping|background|poster")
LINKED = ("http", "https", "mailto")
EMBEDDED = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,")


def make_safe(page):
    """Take out of the text what could run or load something: a file or class name of a user's folder gets there.

    The page's content security policy forbids the same; this is the second lock. An image that is not inside the page
    leaves its alt text. InputError for an image without one.
    """
    for comment in page.main.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    for element in page.main.select(UNSAFE):
        element.decompose()
    for element in page.main.find_all(True):
        for name in list(element.attrs):
            if UNSAFE_ATTRIBUTE.fullmatch(name.lower()) or leads_astray(name, str(element[name])):
                del element[name]
    for image in page.main.find_all("img"):
        if not image.get("alt", "").strip():
            raise InputError("an image in Markdown or HTML has no alt text: expected ![alt text](...)")
        if not EMBEDDED.match(image.get("src", "")):
            image.replace_with(image["alt"])


def leads_astray(name, value):
    """Whether an attribute holds an address other than a web page, a mail address or a place near this file."""
    if name.lower() == "style":
        return bool(re.search(r"[(\\@]", value))                         # url(...) and its disguises
    if not name.lower().endswith(("href", "src")) or EMBEDDED.match(value):
        return False
    scheme = re.match(r"([^/?#]*?):", re.sub(r"[\x00-\x20]", "", value))
    return bool(scheme) and scheme[1].lower() not in LINKED


def mark_opening(page, title):
    """See that the page has a heading; mark the subtitle and the summary that directly follow it, then come folds."""
    if not page.h1:
        heading = page.new_tag("h1")
        heading.string = title or "Report"
        page.main.insert(0, heading)
    following = page.h1.find_next_sibling()
    if following and following.name == "p" and following.em and words(following) == words(following.em):
        following["class"] = "subtitle"
        following = following.find_next_sibling()
    if following and following.name == "blockquote":
        following["class"] = "summary"
        following = following.find_next_sibling()
    place = following.insert_before if following else page.main.append
    for fold in reversed(page.h1.find_previous_siblings("details")):
        place(fold.extract())


def words(element):
    """The text of an element; a formula's without its TeX."""
    return "".join(text for text in element.strings if text.parent.name != "annotation").strip()


# 64.70 %, +7.84 ± 1.29, 36.8 / 40.6, 4.0e-05, 2026-11-23 08:01, or nothing
NUMBER = re.compile(r"[+\-−]?[\d.,]+(e[+\-−]?\d+)?( [±/] [\d.,]+)?( ?%)?|[\d-]+( [\d:]+)?|nan|–|-|", re.I)


def mend_tables(page):
    """Tables without pandas' looks, numbers to the right, that scroll by themselves on a narrow screen."""
    for number, table in enumerate(page.main.find_all("table"), 1):
        for element in table.find_all(["colgroup", "style"]):
            element.decompose()
        for element in [table, *table.find_all(["thead", "tbody", "tr", "th", "td", "caption"])]:
            align = re.search(r"text-align: ?\w+", element.get("style", ""))
            element.attrs = {k: v for k, v in element.attrs.items() if k in ("colspan", "rowspan")}
            if align:
                element["style"] = align[0]
        for cell in table.select("thead th"):
            if not cell.get_text(strip=True):
                cell.name = "td"
        align_numbers(table)
        table.wrap(page.new_tag("div", attrs={"class": "table", "role": "group", "aria-label": f"Table {number}"}))


def align_numbers(table):
    """Set columns of numbers flush right, so that their digits stand below each other."""
    rows = [row.find_all(["th", "td"], recursive=False) for row in table.find_all("tr")]
    rows = [row for row in rows if row and not any("colspan" in cell.attrs for cell in row)]
    body = [row for row in rows if not row[0].find_parent("thead")]
    for column in range(-1, -1 - min(map(len, body), default=0), -1):   # from the right: a left cell may span rows
        texts = [words(row[column]) for row in body]
        if any(texts) and all(NUMBER.fullmatch(text) for text in texts):
            for row in rows:
                row[column]["style"] = "text-align: right"


MEASURED = re.compile(r"((?=\S+ [%±])[+\-−]?\d[\d.,]*(?: ± [\d.,]*\d)?(?: %)?)")


def hold_together(page):
    """No line break inside '5 %' and '1.2 ± 0.3'."""
    for text in page.main.find_all(string=MEASURED):
        if not text.find_parent(["pre", "code", "math"]):
            parts = MEASURED.split(text)
            for number in range(1, len(parts), 2):
                held = page.new_tag("span", attrs={"class": "held"})
                held.string = parts[number]
                parts[number] = held
            text.replace_with(*parts)


def let_scroll(page):
    """Whatever may be wider than a phone and scrolls can be reached with the keyboard."""
    for element in page.main.select(".table, .formula, .highlight pre"):
        element["tabindex"] = "0"


def add_contents(page):
    """Give every heading an id of its own, and every section a line in the contents."""
    contents, used = page.select_one("nav ol"), {"main"}
    for heading in page.main.find_all(HEADING):
        base = slug = heading.get("id") or "section"
        number = 2
        while slug in used:
            slug, number = f"{base}-{number}", number + 1
        used.add(slug)
        heading["id"] = slug
        if heading.name in ("h2", "h3"):
            line = BeautifulSoup(f'<li class="{heading.name}"><a></a></li>', "html.parser").li
            line.a.string, line.a["href"] = words(heading), f"#{slug}"
            contents.append(line)
