"""What of HTML that comes from outside may stand on a page: nothing in it can run or load."""
import re

import nh3

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
