"""The page -> a PDF of the same content, set by Typst from it, with wheels from PyPI only."""
import base64
import json
import re
import tempfile
from pathlib import Path
from urllib.parse import unquote

import matplotlib
import pypandoc
import typst
from bs4 import BeautifulSoup

from lib import InputError
from lib.report.page import IMAGES, TEMPLATE, WIDE
from lib.report.runs import write_atomic
from lib.report.svg import standalone
from lib.report.text import east_asian_folders, typeset

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"        # beside those of Typst and the system


def write_pdf(html, pdf):
    """Set the page `html` (made by write_html) as an A4 PDF: same text, formulas, tables, figures; no folded code.

    Returns `pdf`. InputError for a formula of the article that pandoc cannot read (one of an appendix is shown as its
    TeX); then no file is written.
    """
    page = BeautifulSoup(Path(html).read_text(encoding="utf-8"), "html.parser")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        prepare(page)
        alts = save_images(page, folder)
        text = to_typst(page, folder)
        source = folder / "page.typ"
        look = (TEMPLATE / "page.typ").read_text(encoding="utf-8")
        source.write_text(look + float_figures(mend_typst(text, alts)), encoding="utf-8")
        title = {"title": typeset(page.title.get_text())}
        fonts = [FONTS, *east_asian_folders()]
        return write_atomic(pdf, typst.compile(str(source), sys_inputs=title, font_paths=fonts))


def prepare(page):
    """Turn what pandoc would lose into what it keeps, and let the abstract fill the first page."""
    if second := page.select_one("main > figure ~ figure:has(~ blockquote.abstract)"):
        second.insert_before(page.select_one("blockquote.abstract").extract())
    for element in page.main.select("details.appendix, details.appendix > summary"):
        element.unwrap()
    for element in page.main.select("details, .up, .switch"):
        element.decompose()
    for picture in page.main.select("[role=img]:has(> svg)"):
        image = page.new_tag("img", src="data:image/svg+xml;base64,"
                             + base64.b64encode(standalone(picture.svg).encode()).decode(), alt=picture["aria-label"])
        picture.replace_with(image)
    for element in page.main.select(".picture, .caption"):
        element.unwrap()
    for figure in page.main.find_all("figure"):
        figure.name = "figure" if figure.figcaption else "div"
    for held in page.select(".held"):
        held.replace_with(held.get_text().replace(" ", "\u00a0"))
    for label in page.select(".number"):
        label.name = "strong"
    for cell in page.main.find_all("th"):
        strong = page.new_tag("strong")
        strong.extend(list(cell.contents))
        cell.append(strong)
    for link in page.main.select("a[href^='#']"):
        link["href"] = unquote(link["href"])
        if not page.main.find(id=link["href"][1:]):
            link.unwrap()
    for code in page.select(".hl-python pre, .hl-ipython3 pre"):
        code["class"] = "python"
    restore_tex(page)
    mark_places(page)
    for text in page.main.find_all(string=re.compile(r"[^\x00-\xff]")):
        if text.parent.name != "script":
            text.replace_with(typeset(text))


def restore_tex(page):
    """Formulas as the TeX that they were made from, with their numbers in ⟦⟧ (see mend_typst)."""
    for formula in page.main.select("math:has(annotation)"):
        kind = "math/tex; mode=display" if formula.get("display") == "block" else "math/tex"
        script = page.new_tag("script", type=kind)
        script.string = formula.annotation.get_text()
        formula.replace_with(script)
    for tag in page.select(".equation > .tag"):
        tag.replace_with(f"⟦{tag.get_text()}⟧")


def mark_places(page):
    """Give what page.typ styles an id report-..., which becomes a label in Typst."""
    for element in page.main.select("p.byline, p.deck, ul.numbers, blockquote.abstract, p.links, p.note, div.error, "
                                    "div.question, div.line"):
        element.wrap(page.new_tag("div", id="report-" + element["class"][0]))
        if element.name == "blockquote":
            element.unwrap()
    if len(page.select("main > h2")) > 2 and not page.select_one("p.deck"):       # an article needs no contents
        page.main.h2.insert_before(marker("contents"))
    for heading in page.main.select("h2.lettered")[:1] + page.main.select("h2.appendix"):
        heading.insert_before(marker("appendix"))


def marker(name):
    """An element in whose place page.typ puts something."""
    return BeautifulSoup(f'<div id="report-{name}">{name}</div>', "html.parser")


def save_images(page, folder):
    """Write the figures as files and let the page name those. Returns {file: alt text}."""
    alts = {}
    for number, image in enumerate(page.main.find_all("img")):
        head, data = image["src"].split(";base64,", 1)
        name = f"figure-{number}.{IMAGES.get(head.removeprefix('data:'), head.split('/')[1])}"
        (folder / name).write_bytes(base64.b64decode(data))
        alts[name] = image["alt"]
        image["src"] = name
        width, height = (image.attrs.pop(side, "") for side in ("width", "height"))
        if name.endswith(".svg"):
            image["width"] = "100%"
        elif width.isdecimal() and height.strip("0").isdecimal():
            share = min(100, 90 * int(width) / WIDE, 68 * int(width) / int(height))        # no higher than half a page
            image["width"] = f"{share:.0f}%"
    return alts


def to_typst(page, folder):
    """The text of the page as Typst. InputError for a formula of the article that pandoc cannot read."""
    log = folder / "log.json"
    text = pypandoc.convert_text(page.main.decode_contents(), "typst", format="html",
                                 extra_args=["--wrap=none", "--quiet", f"--log={log}"])
    students = {script.string.strip() for script in page.select("h2.appendix ~ script, h2.appendix ~ * script")}
    for message in json.loads(log.read_text(encoding="utf-8")):
        if message["type"] == "CouldNotConvertTeXMath" and message["contents"].strip() not in students:
            raise InputError(f"the PDF cannot be set: the formula {message['contents'].strip()!r}: "
                             f"{message['message'].splitlines()[-2].strip()}")
    return text


def mend_typst(text, alts):
    """Repair pandoc's Typst: formulas and their numbers, sentences that lead to a table, alt texts."""
    def with_alt(match):
        return f'{match[0]}, alt: {json.dumps(alts[match[1]], ensure_ascii=False)}' if match[1] in alts else match[0]

    text = re.sub(r"(?s)(?<!\\)(?:(`+).*?\1|\$(?:[^$\\]|\\.)+\$)", mend_formula, text)
    text = re.sub(r"(?s)\$ ((?:[^$\\]|\\.)+) \$\s*⟦(.+?)⟧", r"#numbered([\2], $ \1 $)", text)
    text = re.sub(r"(?m)^([^#\n].*:)\n\n(?=#figure)", r"#block(sticky: true)[\1]\n\n", text)    # a table's own sentence
    return re.sub(r'image\("([\w.-]+)"', with_alt, text)


def float_figures(text):
    """Let the figures of an article, but for the first, with which it begins, stand at the top or the bottom of a page,
    so that its text fills the pages; those of a plain report and of the appendices stay where they are."""
    first = re.search(r"<report-deck>(?:(?!\n== ).)*?\n<fig-[^>]*>\n", text, re.DOTALL)
    if not first:
        return text
    article, mark, appendices = text[first.end():].partition("#block[\nappendix")
    auto, none = (f"\n#set figure(placement: {where})\n" for where in ("auto", "none"))
    return text[:first.end()] + auto + article + none + mark + appendices


def mend_formula(match):
    """Widths of TeX's spaces \\! and \\;, which pandoc rounds to whole em, and norms that open and close; no code."""
    if match[1]:
        return match[0]
    formula = match[0].replace("#h(-1em)", "#h(-0.17em)").replace("#h(0em)", "#h(0.28em)")
    return re.sub(r"∥([^∥]*)∥", r"lr(bar.v.double \1 bar.v.double)", formula)
