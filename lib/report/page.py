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
             "name": word, "links": {"notebook": href, "data": href}}}, all but alt optional. A caption begins with the
             figure's **title.** Figures are numbered in their order; [figure](#fig-NAME) is a link that gets the number
  tables     those with a caption are numbered
  formulas   are numbered by \\tag{...} only
"""
import base64
import copy
import functools
import html as html_text
import re
import string
from pathlib import Path
from urllib.parse import unquote

import nbformat
import nh3
from bs4 import BeautifulSoup
from jinja2 import pass_context
from markupsafe import Markup
from math_core import LatexError, LatexToMathML
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from lib import ROOT, InputError
from lib.report.runs import write_atomic
from lib.report.text import LONG, cut, scrub

TEMPLATE = ROOT / "reports" / "template"
WIDE = 768                  # px: the widest a figure gets on the page; --wide in page.css
WIDGET_VIEW, WIDGET_STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
IMAGES = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg"}
HEADING = re.compile(r"h[1-6]")
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


# ---------------------------------------------------------------- what may stand on a page
MATHML = ("math semantics annotation maction menclose merror mfrac mi mmultiscripts mn mo mover mpadded mphantom "
          "mprescripts mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder "
          "munderover").split()
TAGS = {*("a abbr b blockquote br caption cite code dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 "
          "hr i img ins kbd li mark ol p pre q s small span strong sub summary sup table tbody td tfoot th thead tr "
          "tt u ul var").split(), *MATHML}
ATTRIBUTES = {
    "*": {"class", "id", "lang", "dir", "title", "style"}, "a": {"href"}, "img": {"src", "alt", "width", "height"},
    "ol": {"start"}, "th": {"colspan", "rowspan", "scope"}, "td": {"colspan", "rowspan"}, "annotation": {"encoding"},
    "math": {"display"}, "menclose": {"notation"}, "mspace": {"width", "height", "depth"}, "mtd": {"columnspan"},
    "mo": {"form", "fence", "stretchy", "lspace", "rspace", "minsize", "maxsize", "symmetric", "largeop",
           "movablelimits"},
    "mover": {"accent"}, "munder": {"accentunder"}, "munderover": {"accent", "accentunder"}, "mfrac": {"linethickness"},
    "mtable": {"displaystyle", "scriptlevel", "columnalign", "columnlines", "rowlines"}, "mi": {"mathvariant"},
    "mstyle": {"displaystyle", "scriptlevel"}, "mpadded": {"width", "height", "depth", "lspace", "voffset"}}
STYLES = {"text-align", "justify-items", "padding-left", "padding-right", "margin-left", "color"}
GONE = {"script", "style", "noscript", "template", "title", "svg", "iframe", "object", "select", "textarea", "button",
        "video", "audio", "form"}                                               # with what is in them
EMBEDDED = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,")


def harmless(tag, attribute, value):
    """The value that an allowed attribute may keep: an image is inside the page, a span has a sane size."""
    if attribute == "src":
        return value if EMBEDDED.match(value) else None
    if attribute == "href" and re.sub(r"[\x00-\x20]", "", value).lower().startswith("data:"):
        return None
    if attribute in ("colspan", "rowspan"):
        return value if re.fullmatch(r"\d{1,2}", value) else None
    return value


CLEANER = nh3.Cleaner(
    tags=TAGS, attributes=ATTRIBUTES, clean_content_tags=GONE, attribute_filter=harmless,
    filter_style_properties=STYLES, url_schemes={"http", "https", "mailto", "data"}, link_rel=None)


def clean(html):
    """HTML from outside with only what the lists above allow, every tag closed: nothing in it can run or load.

    A file name or class name of a user's folder gets there. The page's content security policy forbids the same.
    """
    return flat(CLEANER.clean(html))


TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)(?: [\w:-]+(?:=\"[^\"]*\")?)*>")
VOID = {"br", "hr", "img"}


def flat(html):
    """Clean HTML without the elements that lie too deep for Typst and browsers; what was in them stays."""
    depth = 0

    def keep(tag):
        nonlocal depth
        if tag[2] in VOID:
            return tag[0]
        depth += not tag[1]
        kept = depth <= (100 if tag[2] in MATHML else 20)
        depth -= bool(tag[1])
        return tag[0] if kept else ""

    return TAG.sub(keep, html)


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
        page.main.extend(list(lowered(appendix.main).contents))
    letter_appendices(page)
    mark_opening(page, title)
    number_figures(page)
    mend_tables(page)
    hold_together(page)
    let_scroll(page)
    add_contents(page)
    add_way(page, up)
    page.title.string = title or words(page.h1)
    return write_atomic(html, str(page))


def render(path, strict, show_code):
    """The page of one notebook, as a soup. Headings have the ids that JupyterLab gives them: links to them hold."""
    exporter = page_exporter()
    exporter.formulas.strict = strict
    notebook = tidy(nbformat.read(path, as_version=4), path.name, strict)
    body, _ = exporter.from_notebook_node(notebook, {"show_code": show_code})
    page = BeautifulSoup(body, "html.parser")
    mend_images(page.main, strict)
    for heading in page.main.find_all(HEADING):
        heading["id"] = re.sub(r"\s", "-", words(heading))
    return page


def mend_images(main, strict):
    """An image that is not inside the page leaves its alt text; if `strict`, one without alt text is an InputError."""
    for image in main.find_all("img"):
        alt = image.get("alt", "").strip()
        if strict and not alt:
            raise InputError("an image in Markdown or HTML has no alt text: expected ![alt text](...)")
        image["alt"] = alt or "an image without description"
        if not image.get("src"):
            image.replace_with(image["alt"])


def lowered(main):
    """The headings of a notebook that is an appendix: its h1 becomes an h2, every other goes down one level."""
    for heading in main.find_all(HEADING):
        if heading.name == "h1":
            heading.insert(0, APPENDIX)
            heading["class"] = "appendix"
        heading.name = f"h{min(6, int(heading.name[1]) + 1)}"
    return main


APPENDIX = "Appendix: "


def letter_appendices(page):
    """'Appendix A: ' in place of 'Appendix: ', through the article's own appendices and the notebooks after them."""
    found = [heading for heading in page.main.find_all("h2") if words(heading).startswith(APPENDIX.strip())]
    for letter, heading in zip(string.ascii_uppercase, found, strict=False):
        first = heading.find(string=True)
        first.replace_with(first.replace(APPENDIX.strip(), f"Appendix {letter}:", 1))
        heading["class"] = heading.get("class", "lettered")


def mark_opening(page, title):
    """See that the page has a heading; mark what may stand between it and the first h2, then come folds before it."""
    if not page.h1:
        heading = page.new_tag("h1")
        heading.string = title or "Report"
        page.main.insert(0, heading)
    marked, last = set(), page.h1
    for element in page.h1.find_next_siblings():
        if element.name == "h2":
            break
        kind = opening_kind(element)
        if kind and kind not in marked:
            element["class"] = kind
            marked.add(kind)
            last = element
    for fold in page.h1.find_previous_siblings("details"):
        last.insert_after(fold.extract())


def opening_kind(element):
    """What an element after the title is: byline, numbers, abstract, or None."""
    if element.name == "p" and element.em and words(element) == words(element.em):
        return "byline"
    if element.name == "ul" and all(item.select_one(":scope > strong") and words(item).startswith(words(item.strong))
                                    for item in element.find_all("li")):
        return "numbers"
    return "abstract" if element.name == "blockquote" else None


def words(element):
    """The text of an element; a formula's without its TeX."""
    return "".join(text for text in element.strings if text.parent.name != "annotation").strip()


def number_figures(page):
    """'Figure 1.' before each caption, and the numbers in links to figures; links to missing figures become words."""
    numbers = {}
    for number, caption in enumerate(page.main.select("figure > figcaption:has(.caption)"), 1):
        first = caption.select_one(".caption p") or caption.select_one(".caption")
        label = page.new_tag("span", attrs={"class": "number"})
        label.string = f"Figure {number}."
        first.insert(0, label)
        label.insert_after(" ")
        numbers.setdefault(caption.parent.get("id"), number)
    for link in page.main.select("a[href^='#fig-']"):
        number = numbers.get(unquote(link["href"][1:]))
        if number is None:
            link.unwrap()
        elif named := re.fullmatch(r"(fig\w*\.?)(\s*\d+)?", words(link), re.I):
            link.string = f"{named[1]}\u00a0{number}"


# 64.70 %, +7.84 ± 1.29, 36.8 / 40.6, 64.7 % (63.1 to 66.4), p < 0.001, 4.0 × 10⁻⁵, 2026-11-23 08:01, or nothing
VALUE = r"[+\-−]?\d[\d.,]*(?:e[+\-−]?\d+)?[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]*(?: ?%)?"
NUMBER = re.compile(rf"(?:p )?[<>=≤≥≈]? ?{VALUE}(?: (?:[±/×]|to) {VALUE})?(?: points?)?"
                    rf"(?: \({VALUE}(?:,| to) {VALUE}\))?|[\d-]+(?: [\d:]+)?|nan|[–—-]|", re.I)
MINUS = re.compile(r"(?<![\w.,)-])-(?=\d)")


def mend_tables(page):
    """Tables without pandas' looks, numbers to the right with a real minus sign; on a phone they stack or scroll."""
    numbered = 0
    for number, table in enumerate(page.main.find_all("table"), 1):
        for element in table.find_all("colgroup"):
            element.decompose()
        for element in [table, *table.find_all(["thead", "tbody", "tr", "th", "td", "caption"])]:
            align = re.search(r"text-align: ?\w+", element.get("style", ""))
            element.attrs = {k: v for k, v in element.attrs.items() if k in ("colspan", "rowspan")}
            if align:
                element["style"] = align[0]
        merge_heads(table)
        for cell in table.select("thead th"):
            if not cell.get_text(strip=True):
                cell.name = "td"
        if table.caption and words(table.caption):
            numbered += 1
            label = page.new_tag("span", attrs={"class": "number"})
            label.string = f"Table {numbered}."
            table.caption.insert(0, label)
            label.insert_after(" ")
        stacks = mend_columns(table)
        table.wrap(page.new_tag("div", attrs={
            "class": "table stack" if stacks else "table", "role": "group", "aria-label": f"Table {number}"}))


def merge_heads(table):
    """One row in place of pandas' two, the columns' names above the name of the index."""
    rows = [row.find_all(["th", "td"], recursive=False) for row in table.select("thead > tr")]
    pairs = list(zip(*rows, strict=True)) if len(rows) == 2 and len(rows[0]) == len(rows[1]) else []
    if pairs and not any(words(above) and words(below) for above, below in pairs):
        for above, below in pairs:
            above.extend(list(below.contents))
        rows[1][0].parent.decompose()


def mend_columns(table):
    """Set columns of numbers flush right, tell each cell its column's name; return whether the rows can be stacked."""
    rows = [row.find_all(["th", "td"], recursive=False) for row in table.find_all("tr")]
    rows = [row for row in rows if row and not any("colspan" in cell.attrs for cell in row)]
    head = [row for row in rows if row[0].find_parent("thead")]
    body = [row for row in rows if not row[0].find_parent("thead")]
    width = min(map(len, body), default=0)
    for column in range(-1, -1 - width, -1):                            # from the right: a left cell may span rows
        texts = [words(row[column]) for row in body]
        if any(texts) and all(NUMBER.fullmatch(text) for text in texts):
            for row in rows:
                if len(row) >= -column:
                    row[column]["style"] = "text-align: right"
            for row in body:
                for text in list(row[column].strings):
                    text.replace_with("–" if text.lower() in ("nan", "-") else MINUS.sub("−", text))
        named = [words(row[column]) for row in head if len(row) >= -column]
        if name := next((name for name in reversed(named) if name), ""):
            for row in body:
                row[column]["data-label"] = name
    return bool(head) and width > 2 and not table.select("[rowspan]")


MEASURED = re.compile(r"((?<![\d.,])[+\-−]?\d[\d.,]*+(?: ± [\d.,]*\d(?: %)?| %)|\bp [<=] [\d.,]*\d)")


def hold_together(page):
    """No line break inside '5 %', '1.2 ± 0.3' and 'p < 0.001'."""
    for text in page.main.find_all(string=re.compile(" [%±<=] ?")):
        if not text.find_parent(["pre", "code", "math"]):
            parts = MEASURED.split(text)
            for number in range(1, len(parts), 2):
                held = page.new_tag("span", attrs={"class": "held"})
                held.string = parts[number]
                parts[number] = held
            text.replace_with(*parts)


def let_scroll(page):
    """Whatever may be wider than a phone and scrolls can be reached with the keyboard."""
    for element in page.main.select(".picture, .table, .formula, .highlight pre"):
        element["tabindex"] = "0"


def add_contents(page):
    """Give every heading and figure an id of its own, and every section a line in the contents."""
    contents, used = page.select_one("nav ol"), {"main"}
    for element in page.main.select("h1, h2, h3, h4, h5, h6, [id]"):
        base = slug = element.get("id") or "section"
        number = 2
        while slug in used:
            slug, number = f"{base}-{number}", number + 1
        used.add(slug)
        element["id"] = slug
        if element.name in ("h2", "h3"):
            line = BeautifulSoup(f'<li class="{element.name}"><a></a></li>', "html.parser").li
            line.a.string, line.a["href"] = words(element), f"#{slug}"
            contents.append(line)


def add_way(page, up):
    """The way to the page `up`; on a page that others belong to, where its links lead, if it is given away alone."""
    if up:
        way = page.new_tag("p", attrs={"class": "up"})
        way.append(page.new_tag("a", href=up, string="← Report"))
        page.main.insert(0, way)
    elif page.main.select_one("a[href]:not([href^='#'], [href*=':'])"):
        way = page.new_tag("p", attrs={"class": "note"})
        way.string = ("Links to notebooks and data lead into the folder that this page came with; without that folder "
                      "the page is complete, but these links are dead.")
        page.main.append(way)
