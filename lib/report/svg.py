"""Figures as SVG inside the page: its fonts, its colours in light and in dark, nothing that can run or load.

`draw` makes the SVG of a matplotlib figure; `inline` keeps of an SVG what a chart needs and fits it to the page;
`standalone` makes a file of it again, for the PDF.
"""
import io
import re
import xml.etree.ElementTree as xml

import matplotlib.pyplot as plt

from lib.report.figures import COLOURS

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
TAGS = {"svg", "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect", "circle", "line", "image", "title"}
ATTRIBUTES = {"id", "d", "x", "y", "x1", "x2", "y1", "y2", "r", "cx", "cy", "width", "height", "transform", "style",
              "clip-path", "viewBox"}
PROPERTIES = {"fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-linecap",
              "stroke-linejoin", "stroke-dasharray", "stroke-dashoffset", "opacity", "font-size", "font-weight",
              "font-style", "text-anchor", "image-rendering"}
INK, PAPER = {"#000000", "#000", "black"}, {"#ffffff", "#fff", "white"}
NAMED = {colour.lower(): name for name, colour in reversed(COLOURS.items())}


def draw(figure, name):
    """The SVG of a figure, with text as text; the same figure gives the same bytes. Leaves it open."""
    file = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", bbox_inches="tight", transparent=True, dpi=2 * figure.get_dpi(),
                       metadata={"Date": None, "Creator": None})
    return file.getvalue()


def inline(text, prefix):
    """An SVG as an element of a page: ids begin with `prefix`, black is the page's ink and white its paper, the colours
    of lib.report.figures are the page's. Everything but the shapes, texts and embedded pictures of a chart goes."""
    root = xml.fromstring(text)
    kept = clean(root, re.sub(r"\W", "-", prefix))
    width, height = root.get("viewBox", "0 0 100 100").split()[2:]
    kept.attrib = {"viewBox": f"0 0 {width} {height}", "class": "chart"}
    return xml.tostring(kept, encoding="unicode")


def clean(element, prefix):
    """A copy of an element and of what is in it, without namespaces, with the accepted tags and attributes only."""
    copy = xml.Element(tag(element), {})
    for name, value in element.attrib.items():
        local = name.rpartition("}")[2]
        if name == f"{{{XLINK}}}href" or local == "href":
            if tag(element) == "use" and value.startswith("#"):
                copy.set("href", f"#{prefix}-{value[1:]}")
            elif tag(element) == "image" and re.match(r"data:image/png;base64,[\w+/=\s]+$", value):
                copy.set("href", re.sub(r"\s", "", value))
        elif local == "id":
            copy.set("id", f"{prefix}-{value}")
        elif local == "clip-path":
            copy.set("clip-path", re.sub(r"^url\(#([\w.-]+)\)$", rf"url(#{prefix}-\1)", value))
        elif local == "style":
            copy.set("style", style(value))
        elif local in ATTRIBUTES:
            copy.set(local, value)
    copy.text, copy.tail = element.text, element.tail
    for child in element:
        if tag(child) in TAGS:
            copy.append(clean(child, prefix))
    return copy


def tag(element):
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def style(text):
    """The accepted properties of a style, with the page's colours."""
    pairs = (part.partition(":")[::2] for part in text.split(";") if part.strip())
    return "; ".join(f"{name.strip()}: {colour(value.strip())}" for name, value in pairs
                     if name.strip() in PROPERTIES and "url" not in value)


def colour(value):
    low = value.lower()
    if low in INK:
        return "currentColor"
    if low in PAPER:
        return "var(--paper, #ffffff)"
    return f"var(--c-{NAMED[low]}, {low})" if low in NAMED else value


def standalone(element):
    """The text of an SVG file from an element of a page (a BeautifulSoup tag)."""
    text = re.sub(r"var\(--[\w-]+, (#\w+)\)", r"\1", str(element)).replace("currentColor", "#000000")
    text = re.sub(r"\bhref=", "xlink:href=", text).replace("clippath", "clipPath").replace("viewbox", "viewBox")
    return text.replace("<svg ", f'<svg xmlns="{SVG}" xmlns:xlink="{XLINK}" font-family="DejaVu Sans" ', 1)
