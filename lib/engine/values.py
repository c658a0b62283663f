"""What the value of a parameter may be, and the sentence that refuses it."""
import difflib
import math
import reprlib
import typing
import unicodedata
from typing import NamedTuple

from lib import InputError

LONGEST = 500               # letters of a sentence that refuses a value


class Rule(NamedTuple):
    """`accepts(value)` is the test, `accepted` the words that end the error's sentence."""

    accepts: typing.Callable
    accepted: str


def one_of(*names):
    return Rule(lambda v: v in names, "one of " + ", ".join(map(repr, names)))


def at_least(low):
    return Rule(lambda v: v >= low, f"at least {low}")


def above(low):
    return Rule(lambda v: v > low, f"more than {low}")


def between(low, high):
    return Rule(lambda v: low <= v <= high, f"a number from {low} to {high}")


def each(rule):
    return Rule(lambda vs: len(vs) > 0 and all(rule.accepts(v) for v in vs), f"a list, not empty, each {rule.accepted}")


def shown(value):
    """`value` in a few words, whatever its size: a text of megabytes, a list that holds itself."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlong = 3, 80, 80, 40
    text = short.repr(value)
    return text if len(text) <= 120 else text[:119] + "\u2026"


def one_line(text):
    """A sentence of at most LONGEST letters."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[:LONGEST - 1] + "\u2026"


def check(name, value, hint):
    """Raise InputError unless `value` has the annotated type (an int passes as a float) and keeps its Rule."""
    rules = [r for r in getattr(hint, "__metadata__", ()) if isinstance(r, Rule)]
    want = typing.get_args(hint)[0] if rules else hint
    base, items = typing.get_origin(want) or want, typing.get_args(want)
    if base is not object and not is_a(value, base) or (items and not all(is_a(v, items[0]) for v in value)):
        kind = f"a list of {items[0].__name__}" if items else {"str": "text", "bool": "True or False"}.get(
            base.__name__, f"a number ({base.__name__})" + " below 2^53" * (type(value) is int))
        comma = ", written with a point, as 0.002" if type(value) is tuple and base in (int, float) else ""
        raise InputError(f"{name}={shown(value)} is {type(value).__name__}, expected {kind}{comma}")
    if not all(is_text(v) for v in (value if items else [value]) if isinstance(v, str)):
        raise InputError(f"{name}={shown(value)}: expected text without control characters")
    for rule in rules:
        if not rule.accepts(value):
            raise InputError(f"{name}={shown(value)}: expected {rule.accepted}")


def is_a(value, kind):
    if kind is float:
        return type(value) is float and math.isfinite(value) or is_a(value, int)
    return type(value) is kind and (kind is not int or abs(value) < 2**53)


def is_text(value):
    """Whether every letter can be written to a file and shown."""
    return all(unicodedata.category(c) not in ("Cc", "Cs") or c in "\n\t" for c in value)


def perhaps(name, known):
    """', perhaps NEAREST' or nothing."""
    near = difflib.get_close_matches(str(name)[:100], [str(k) for k in known], 1)
    return f", perhaps {near[0]!r}" if near else ""
