"""Words from outside (names of classes, files, plans; a notebook's outputs) as words: in Markdown, figures, pages."""
import contextlib
import functools
import re
import string
import sys
import tempfile
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from lib import ROOT

LONG = 40_000               # characters: the longest text of one output or cell that a page shows whole
EAST_ASIAN = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "PingFang SC", "Hiragino Sans GB",
              "Microsoft YaHei", "SimHei", "WenQuanYi Micro Hei", "Malgun Gothic", "Arial Unicode MS")


# ---------------------------------------------------------------- Markdown
def escape(words):
    """Markdown that shows `words` as they were typed, in JupyterLab and on a page: no sign in them means anything."""
    return re.sub(f"[{re.escape(string.punctuation)}]", entity, visible(words))


def entity(sign):
    """An ASCII sign as HTML; a dollar in an element of its own, where MathJax sees no formula begin."""
    code = f"&#{ord(sign[0])};"
    return f"<span>{code}</span>" if sign[0] == "$" else code


def visible(words):
    """One line of text: each run of blanks as one blank, what cannot be printed (a byte that is no letter) as \\x.."""
    words = " ".join(str(words).split())
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in words)


def cut(words):
    """`words`, at most LONG characters of them; then how many are left out."""
    left = len(words) - LONG
    return words if left <= 0 else f"{words[:LONG]}\n… {left:,} more characters"


SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def powers(words):
    """Numbers as Python writes them, '2.4e-07', as on paper: '2.4 × 10⁻⁷'."""
    return re.sub(r"(?<=\d)e([+-]\d+)", lambda found: f" × 10{str(int(found[1])).translate(SUPERSCRIPT)}", words)


# ---------------------------------------------------------------- fonts
def plain(words):
    """`words` for a figure: a dollar begins no formula, a letter that no font of the figure has becomes \\u...."""
    fonts = [path for family in figure_fonts() for path in installed().get(family, ())]
    return with_letters_of(fonts, visible(words)).replace("$", r"\$")


def typeset(words):
    """`words` for the PDF: a letter that no font of this machine has becomes \\u.... ."""
    families = (*figure_fonts(), *installed())
    return with_letters_of([path for family in families for path in installed().get(family, ())], words)


def with_letters_of(fonts, words):
    """`words`, with escapes for the letters beyond the first 256 that none of `fonts` (paths) has."""
    known = {letter: ord(letter) < 256 or any(ord(letter) in letters(font) for font in fonts) for letter in set(words)}
    return "".join(letter if known[letter] else ascii(letter)[1:-1] for letter in words)


def figure_fonts():
    """The families that figures use: matplotlib's own, then the East Asian ones that are installed."""
    return ["DejaVu Sans", *(family for family in EAST_ASIAN if family in installed())]


@functools.cache
def installed():
    """{family: paths of its fonts} on this machine, those too that came after matplotlib had listed what is there."""
    families, listed = {}, font_manager.fontManager.ttflist
    for file in sorted({*font_manager.findSystemFonts()} - {font.fname for font in listed}):
        with contextlib.suppress(OSError, RuntimeError, ValueError):        # a font that cannot be read
            font_manager.fontManager.addfont(file)
    for font in listed:
        if "Last Resort" in font.name:                      # draws a box for every letter
            continue
        families.setdefault(font.name, []).append(font.fname)
    return families


def east_asian_folders():
    """Where the East Asian fonts of figures lie, for Typst, which need not look there by itself."""
    return sorted({str(Path(path).parent) for family in figure_fonts()[1:] for path in installed()[family]})


@functools.cache
def letters(font):
    """The code points that a font file has; none if it cannot be read."""
    try:
        return frozenset(FT2Font(font).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


# ---------------------------------------------------------------- places
def scrub(words):
    """`words` without the folders of this machine: ~/course/lib/x.py as its full path -> …/lib/x.py.

    The repository, the home, temporary and Python's folders go wherever they stand; of any other absolute path only
    its last part stays.
    """
    return ANYWHERE.sub("…/", known_places().sub("…", words))


# an absolute path's folders, in Unix or Windows; a quote, blank, bracket or = stands before it
ANYWHERE = re.compile(r"(?<![^\s\"'`=(\[{>|])(?:file://)?(?:/|[A-Za-z]:[\\/])(?:[\w.@~+-]*[A-Za-z_][\w.@~+-]*[\\/]+)+(?=[\w.…])")


@functools.cache
def known_places():
    places = {str(ROOT), str(Path.home()), tempfile.gettempdir(), "/tmp", sys.prefix, sys.base_prefix}
    ends = sorted((place for place in places if len(Path(place).parts) > 1), key=len, reverse=True)
    return re.compile(rf"(?<![\w+/.-])(?:file://)?(?:{'|'.join(map(re.escape, ends))})(?=[\\/:\s\"'`)<]|$)")
