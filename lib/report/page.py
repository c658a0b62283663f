"""Executed notebooks -> one self-contained HTML page that reads like an article.

The page holds no script and asks no host for anything: TeX becomes MathML while the page is made (math-core), the math
font and the figures are inside. The PDF is set by Typst from that page, with wheels from PyPI only.

What the page does with a notebook:
  tags       `parameters`, `remove-cell`, `explorer` (it is for JupyterLab): left out;
             `remove-input`, `remove-output`: without code, without outputs
  code       an article shows that of cells tagged `show-input`, a run's page all of it, and folded the cell
             `injected-parameters` as "Parameters of this run"
  opening    `# Title`; before the first `##` may follow a paragraph that is one *emphasis* (the byline), a list whose
             items begin with a **number**, a blockquote (the abstract)
  appendices `## Appendix: ...` and the notebooks that follow the article get letters: Appendix A, B, ...
  figures    outputs whose metadata hold {"image/png": {"alt": text, "caption": Markdown, "width": px, "height": px,
             "name": word, "links": {"notebook": href, "data": href}, "svg": the figure as SVG, which the page shows
             inline, "switch": choices for the reader (drawings.Drawn)}}, all but alt optional. A caption begins
             with the figure's **title.** Figures are numbered in their order; [figure](#fig-NAME) is a link that gets
             the number
  tables     those with a caption are numbered
  formulas   are numbered by \\tag{...} only
"""
import base64
import copy
import functools
import html as html_text
import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
from bs4 import BeautifulSoup
from jinja2 import pass_context
from markupsafe import Markup
from math_core import LatexError, LatexToMathML
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from lib import ROOT, InputError
from lib.report import layout, svg
from lib.report.runs import write_atomic
from lib.report.safe_html import clean
from lib.report.text import LONG, cut, scrub

TEMPLATE = ROOT / "reports" / "template"
WIDE = 768                  # px: the widest a figure gets on the page; --wide in page.css
WIDGET_VIEW, WIDGET_STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
IMAGES = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg"}
KINDS = ("text/html", "text/markdown", "text/latex", *IMAGES, "text/plain")    # an output shows as the first it has


# ---------------------------------------------------------------- notebooks
def tidy(notebook, name, strict=True):
    """A copy of `notebook` (of the file `name`) with what reads well on paper: see the top of this file.

    Also gone: progress lines, what was written to stderr, folders of this machine, all but the first LONG characters
    of a text, and live widgets, which leave what they last showed. An image without alt text is an InputError, or, if
    not `strict`, gets one that says where it stands.
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
            cell.source = "" if "remove-input" in tags else cut(scrub(cell.source))
            check_alt(cell.outputs, f"{name}, cell {number}", strict)
        cells.append(cell)
    notebook.cells = cells
    return notebook


def shown(output, widgets):
    """The outputs that stand for `output` on paper: none, itself as one kind of KINDS, or a widget's last pictures."""
    if output.output_type == "stream":
        output.text = cut(scrub(re.sub(r"(?m)^.*\r(?=.)", "", output.text)))     # a line that overwrote itself: its end
        return [output] if output.name == "stdout" else []
    if output.output_type == "error":
        output.traceback = [cut(scrub("\n".join(output.traceback)))]
        return [output]
    if output.metadata.get("progress") or output.metadata.get("caption"):
        return []
    if view := output.data.get(WIDGET_VIEW):
        return [o for last in last_shown(view["model_id"], widgets) for o in shown(nbformat.from_dict(last), widgets)]
    kind = next((kind for kind in KINDS if kind in output.data), None)
    if kind is None:
        return []
    data = output.data[kind]
    output.data = {kind: scrub(data) if kind.startswith("text/") else data}
    text = re.sub(r"<[^<>]*>", " ", output.data[kind]) if kind == "text/html" else output.data[kind]
    if kind in ("text/html", "text/latex", "text/plain") and len(text) > LONG:
        output.data = {"text/plain": cut(text)}
    return [output]


def last_shown(model, widgets):
    """What the Output areas at or below the widget `model` held when the notebook was saved."""
    entry = widgets.get(model, {})
    state = entry.get("state", {})
    found = list(state.get("outputs", [])) if entry.get("model_name") == "OutputModel" else []
    for child in state.get("children") or []:
        found += last_shown(child.removeprefix("IPY_MODEL_"), widgets)
    return found


def check_alt(outputs, where, strict):
    """See that each image of the cell `where` has an alt text."""
    for output in outputs:
        for kind in IMAGES:
            if kind in output.get("data", {}) and not str(output.metadata.get(kind, {}).get("alt", "")).strip():
                if strict:
                    raise InputError(f"{where}: an image has no alt text; run.figure(fig, name, alt, caption) gives it")
                words = {"alt": f"{where}: an image without description"}
                output.metadata[kind] = output.metadata.get(kind, {}) | words


# ---------------------------------------------------------------- HTML
class Formulas:
    """TeX -> MathML that keeps its TeX as an annotation; \\tag{...} stands at the right of its formula.

    A formula that math-core refuses is an InputError with the formula and the reason; if not `strict`, a student's
    formula, it is shown as its TeX with the reason.
    """

    TAG = re.compile(r"\\tag\{([^{}]*)\}")
    LABEL = re.compile(r"\\label\{[^{}]*\}")
    REFERENCE = re.compile(r"\\(?:eq|c|auto)?ref\b")
    NUMBERED = re.compile(r"\\(begin|end)\{(align|gather|multline)\}")
    EQUATION = re.compile(r"\\(begin|end)\{equation\*?\}")

    def __init__(self):
        self.converter, self.strict = LatexToMathML(annotation=True), True

    def __call__(self, tex, display):
        tex = self.LABEL.sub("", tex)
        if not display:
            return self.to_mathml(tex, tex, False)
        tag = self.TAG.search(tex)
        body = self.EQUATION.sub("", self.NUMBERED.sub(r"\\\1{\2*}", self.TAG.sub("", tex, count=1)))
        words = f'<span class="tag">({html_text.escape(tag[1])})</span>' if tag else ""
        size = "formula long" if max(map(len, re.split(r"\\\\", body))) > 120 else "formula"
        return f'<span class="equation"><span class="{size}">{self.to_mathml(body, tex, True)}</span>{words}</span>'

    def to_mathml(self, body, tex, display):
        try:
            if reference := self.REFERENCE.search(body):
                raise LatexError(f"a page has no target for {reference[0]}")
            if len(body) > 4000:                    # math-core calls itself for what is nested, and ends the process
                raise LatexError("longer than 4,000 characters")
            return self.converter.convert_with_local_state(body.strip(), displaystyle=display)
        except LatexError as error:
            reason = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip().splitlines()[0].removeprefix("Error: ")
            if self.strict:
                raise InputError(f"the formula {tex.strip()!r} cannot be typeset: {reason}") from None
            tex, reason = html_text.escape(tex.strip()), html_text.escape(reason)
            return f"<code>{tex}</code> <small>(not typeset: {reason})</small>"


class Renderer(IPythonRenderer):
    """nbconvert's Markdown renderer with typeset formulas; an image that is not there leaves its alt text."""

    def __init__(self, formulas, **options):
        super().__init__(**options)
        self.formulas = formulas

    def inline_math(self, body):
        return self.formulas(body, False)

    def block_math(self, body):
        return self.formulas(body, True)

    def latex_environment(self, name, body):
        return self.formulas(rf"\begin{{{name}}}{body}\end{{{name}}}", True)

    def image(self, text, url, title=None):
        try:
            return super().image(text, unquote(url) if url.startswith("attachment:") else url, title)
        except InvalidNotebook:
            return super().image(text, "", title)


class PageExporter(HTMLExporter):
    """nbconvert's HTML exporter with our template, typeset formulas, and clean HTML."""

    def __init__(self, **options):
        super().__init__(extra_template_basedirs=[str(TEMPLATE.parent)], template_name=TEMPLATE.name, **options)
        self.formulas = Formulas()
        self.register_filter("typeset", lambda tex: clean(self.formulas(tex.strip().strip("$"), True)))
        self.register_filter("clean", clean)
        self.register_filter("inline_svg", svg.inline)
        self.look = {
            "css": (TEMPLATE / "page.css").read_text(encoding="utf-8"),
            "math_font": base64.b64encode((TEMPLATE / "stix-two-math-subset.woff2").read_bytes()).decode(),
            "code_light": HtmlFormatter(style="xcode").get_style_defs(".highlight"),
            "code_dark": HtmlFormatter(style="github-dark").get_style_defs(".highlight")}

    @property
    def default_config(self):
        config = super().default_config.copy()
        config.merge(Config({"HTMLExporter": {"exclude_anchor_links": True}}))
        return config

    @pass_context
    def markdown2html(self, context, source):
        """Markdown as HTML; as the text that it is where it is too long to be prose (parsing it would take minutes)."""
        if len(re.sub(r"\(data:image/[^)\s]*\)", "", source)) > LONG:
            return Markup(f"<pre>{html_text.escape(cut(source))}</pre>")
        attached = context.get("cell", {}).get("attachments", {})
        renderer = Renderer(self.formulas, escape=False, exclude_anchor_links=True, attachments=attached)
        return Markup(clean(MarkdownWithMath(renderer=renderer).render(source)))

    def _init_resources(self, resources):
        return super()._init_resources(resources) | self.look


@functools.cache
def page_exporter():
    return PageExporter()


def write_html(notebooks, html, title=None, run=False, up=None):
    """Write the page of the executed `notebooks` (paths): the first is the article, the others are its appendices.

    title: of the browser's tab, by default the article's h1. run: it is the page of a run, with its code in sight.
    up: the address of the page that this one belongs to. Returns `html`.

    InputError (a ValueError) for an article's formula that cannot be typeset and its image without alt text; then no
    file is written. In appendices and in pages of runs, which students edit, both are shown with a note.
    """
    page, *appendices = [render(Path(path), strict=not (number or run), show_code=run)
                         for number, path in enumerate(notebooks)]
    for appendix in appendices:
        page.main.extend(list(layout.lowered(appendix.main).contents))
    layout.finish(page, title, up)
    return write_atomic(html, str(page))


def render(path, strict, show_code):
    """The page of one notebook, as a soup. Headings have the ids that JupyterLab gives them: links to them hold."""
    exporter = page_exporter()
    exporter.formulas.strict = strict
    notebook = tidy(nbformat.read(path, as_version=4), path.name, strict)
    body, _ = exporter.from_notebook_node(notebook, {"show_code": show_code})
    page = BeautifulSoup(body, "html.parser")
    layout.mend_images(page.main, strict)
    for heading in page.main.find_all(layout.HEADING):
        heading["id"] = re.sub(r"\s", "-", layout.text_of(heading))
    return page
