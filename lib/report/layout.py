"""The layout of a page: opening, numbered figures and tables, appendices, contents, and links back.

Each function changes the soup (BeautifulSoup) of a rendered page in place.
"""
import re
import string
from urllib.parse import unquote

from bs4 import BeautifulSoup

from lib import InputError

HEADING = re.compile(r"h[1-6]")
APPENDIX = "Appendix: "


def finish(page, title, up):
    """Do all steps below, in the order in which they need each other. title, up: as in `page.write_html`."""
    letter_appendices(page)
    mark_opening(page, title)
    number_figures(page)
    mend_tables(page)
    hold_together(page)
    let_scroll(page)
    fold_appendices(page)
    add_contents(page)
    add_way(page, up)
    page.title.string = title or text_of(page.h1)
    if not up:
        describe(page)


def describe(page):
    """What a link to the page shows elsewhere: title, the deck as description, the first figure."""
    deck = page.select_one("p.deck")
    metas = {"og:title": page.title.string}
    if deck:
        metas |= {"description": text_of(deck), "og:description": text_of(deck)}
    if page.main.select_one("figure"):
        metas["og:image"] = "picture.png"
    for name, content in metas.items():
        key = "property" if name.startswith("og:") else "name"
        page.title.insert_after(page.new_tag("meta", attrs={key: name, "content": content}))


def mend_images(main, strict):
    """Replace images from outside the page by their alt text. InputError for one without alt text, if `strict`."""
    for image in main.find_all("img"):
        alt = image.get("alt", "").strip()
        if strict and not alt:
            raise InputError("an image in Markdown or HTML has no alt text: expected ![alt text](...)")
        image["alt"] = alt or "an image without description"
        if not image.get("src"):
            image.replace_with(image["alt"])


def lowered(main):
    """Lower the headings of an appendix by one level: its h1 becomes an h2. Returns `main`."""
    for heading in main.find_all(HEADING):
        if heading.name == "h1":
            heading.insert(0, APPENDIX)
            heading["class"] = "appendix"
        heading.name = f"h{min(6, int(heading.name[1]) + 1)}"
    return main


def letter_appendices(page):
    """Write 'Appendix A: ' in place of 'Appendix: ' in the article's own appendices and the notebooks after them."""
    headings = [heading for heading in page.main.find_all("h2") if text_of(heading).startswith(APPENDIX.strip())]
    for letter, heading in zip(string.ascii_uppercase, headings, strict=False):
        first = heading.find(string=True)
        first.replace_with(first.replace(APPENDIX.strip(), f"Appendix {letter}:", 1))
        heading["class"] = heading.get("class", "lettered")


def fold_appendices(page):
    """Each lettered appendix folds below its heading."""
    for heading in page.main.find_all("h2", class_=("lettered", "appendix")):
        followers = []
        for element in heading.find_next_siblings():
            if element.name == "h2" or "note" in element.get("class", []):
                break
            followers.append(element)
        fold = heading.wrap(page.new_tag("summary")).wrap(page.new_tag("details", attrs={"class": "appendix"}))
        fold.extend([element.extract() for element in followers])


def mark_opening(page, title):
    """Give the page an h1 if it has none; mark the parts of its opening, and move folds before the h1 behind them."""
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
    """The part of the opening that an element after the title is: "byline", "numbers", "abstract", or None."""
    if element.name == "p" and element.em and text_of(element) == text_of(element.em):
        return "byline"
    items = element.find_all("li") if element.name == "ul" else []
    if items and all(item.select_one(":scope > strong") and text_of(item).startswith(text_of(item.strong))
                     for item in items):
        return "numbers"
    return "abstract" if element.name == "blockquote" else None


def text_of(element):
    """The text of an element, without the TeX of its formulas."""
    return "".join(text for text in element.strings if text.parent.name != "annotation").strip()


def number_figures(page):
    """Write 'Figure 1.' before each caption and the numbers in links to figures; unwrap links to missing figures."""
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
        elif match := re.fullmatch(r"(fig\w*\.?)(\s*\d+)?", text_of(link), re.I):
            link.string = f"{match[1]}\u00a0{number}"


# 64.70 %, +7.84 ± 1.29, 36.8 / 40.6, 64.7 % (63.1 to 66.4), p < 0.001, 4.0 × 10⁻⁵, 2026-11-23 08:01, or nothing
VALUE = r"[+\-−]?\d[\d.,]*(?:e[+\-−]?\d+)?[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]*(?: ?%)?"
NUMBER = re.compile(rf"(?:p )?[<>=≤≥≈]? ?{VALUE}(?: (?:[±/×]|to) {VALUE})?(?: points?)?"
                    rf"(?: \({VALUE}(?:,| to) {VALUE}\))?|[\d-]+(?: [\d:]+)?|nan|[–—-]|", re.I)
MINUS = re.compile(r"(?<![\w.,)-])-(?=\d)")


def mend_tables(page):
    """Restyle all tables: no pandas styles, numbers on the right with a real minus sign; stack or scroll on a phone."""
    captioned = 0
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
        if table.caption and text_of(table.caption):
            captioned += 1
            label = page.new_tag("span", attrs={"class": "number"})
            label.string = f"Table {captioned}."
            table.caption.insert(0, label)
            label.insert_after(" ")
        stacks = mend_columns(table)
        table.wrap(page.new_tag("div", attrs={
            "class": "table stack" if stacks else "table", "role": "group", "aria-label": f"Table {number}"}))


def merge_heads(table):
    """Merge pandas' two head rows, the names of the columns and that of the index, into one."""
    rows = [row.find_all(["th", "td"], recursive=False) for row in table.select("thead > tr")]
    pairs = list(zip(*rows, strict=True)) if len(rows) == 2 and len(rows[0]) == len(rows[1]) else []
    if pairs and not any(text_of(above) and text_of(below) for above, below in pairs):
        for above, below in pairs:
            above.extend(list(below.contents))
        rows[1][0].parent.decompose()


def mend_columns(table):
    """Align columns of numbers right and give each cell its column's name. Returns whether the rows can be stacked."""
    rows = [row.find_all(["th", "td"], recursive=False) for row in table.find_all("tr")]
    rows = [row for row in rows if row and not any("colspan" in cell.attrs for cell in row)]
    head = [row for row in rows if row[0].find_parent("thead")]
    body = [row for row in rows if not row[0].find_parent("thead")]
    width = min(map(len, body), default=0)
    for column in range(-1, -1 - width, -1):                            # from the right: a left cell may span rows
        texts = [text_of(row[column]) for row in body]
        if any(texts) and all(NUMBER.fullmatch(text) for text in texts):
            for row in rows:
                if len(row) >= -column:
                    row[column]["style"] = "text-align: right"
            for row in body:
                for text in list(row[column].strings):
                    text.replace_with("–" if text.lower() in ("nan", "-") else MINUS.sub("−", text))
        names = [text_of(row[column]) for row in head if len(row) >= -column]
        if name := next((name for name in reversed(names) if name), ""):
            for row in body:
                row[column]["data-label"] = name
    return bool(head) and width > 2 and not table.select("[rowspan]")


MEASURED = re.compile(r"((?<![\d.,])[+\-−]?\d[\d.,]*+(?: ± [\d.,]*\d(?: %)?| %)|\bp [<=] [\d.,]*\d)")


def hold_together(page):
    """Forbid line breaks inside '5 %', '1.2 ± 0.3' and 'p < 0.001'."""
    for text in page.main.find_all(string=re.compile(" [%±<=] ?")):
        if not text.find_parent(["pre", "code", "math", "svg"]):
            parts = MEASURED.split(text)
            for number in range(1, len(parts), 2):
                held = page.new_tag("span", attrs={"class": "held"})
                held.string = parts[number]
                parts[number] = held
            text.replace_with(*parts)


def let_scroll(page):
    """Let the keyboard reach everything that scrolls because it may be wider than a phone."""
    for element in page.main.select(".picture, .table, .formula, .highlight pre"):
        element["tabindex"] = "0"


def add_contents(page):
    """Give every heading and figure a unique id, and every section a line in the contents."""
    contents, used = page.select_one("nav ol"), {"main"}
    for element in page.main.select("h1, h2, h3, h4, h5, h6, [id]"):
        base = slug = element.get("id") or "section"
        number = 2
        while slug in used:
            slug, number = f"{base}-{number}", number + 1
        used.add(slug)
        element["id"] = slug
        if element.name == "h2":
            line = BeautifulSoup(f'<li class="{element.name}"><a></a></li>', "html.parser").li
            line.a.string, line.a["href"] = text_of(element), f"#{slug}"
            contents.append(line)


def add_way(page, up):
    """Add a link to the page `up`. A page with links to other files gets a note that they need its folder."""
    if up:
        way = page.new_tag("p", attrs={"class": "up"})
        way.append(page.new_tag("a", href=up, string="← Report"))
        page.main.insert(0, way)
    elif page.main.select_one("a[href]:not([href^='#'], [href*=':'])"):
        way = page.new_tag("p", attrs={"class": "note"})
        way.string = ("Links to other files lead into the folder that this page came with; without that folder "
                      "the page is complete, but these links are dead.")
        page.main.append(way)
