"""Authored articles: a person's Markdown, into which the numbers of finished runs are filled.

`reports/articles/PLAN.md` begins with YAML between two lines `---`:

    title   the headline
    deck    one or two sentences below it
    holds   conditions on the numbers that the sentences stand on, one a line: `mlp.rival.low > mlp.gain.high`

The rest is Markdown with values by name in double braces (Jinja2). A name is that of a study's run (`mlp`), or one of
those in `names`. Only Estimates, their value and bounds, counts and texts can be filled in: another number has no
interval. `figure(NAME, caption, alt=...)` and `table(NAME, caption)` place what lib.report.drawings and
lib.report.tables make; caption and alt are templates too.

A condition that does not hold stops the build: the words and the numbers disagree.
"""
import ast
import dataclasses
import html
import re
import types
from typing import Any, NamedTuple

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from lib import ROOT, InputError
from lib.report.collected import Mean
from lib.report.results import Estimate, Generation, Training, number
from lib.report.text import escape, visible
from lib.study import EQUAL_EPOCHS, MIXED, REAL, claims

FOLDER = ROOT / "reports" / "articles"
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


class Block(NamedTuple):
    """A figure or table that an article places. kind: "figure" or "table"; options: of the function that makes it."""

    kind: str
    name: str
    caption: str
    alt: str
    options: dict


@dataclasses.dataclass(frozen=True)
class Article:
    """An authored article. body: its template; lines: the number of the line before the body's first."""

    file: Any
    title: str
    deck: str
    holds: tuple
    body: str
    lines: int


def find(plan, folder=None):
    """The file of a plan's article, or None."""
    file = (folder or FOLDER) / f"{plan}.md"
    return file if file.is_file() else None


def read(file):
    """The Article in a file. InputError, naming the file, where its front matter is not as described above."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    text = file.read_text(encoding="utf-8")
    front = FRONT_MATTER.match(text)
    if not front:
        raise InputError(f"{place(file)}: expected YAML between two lines --- at its beginning")
    try:
        given = YAML(typ="safe", pure=True).load(front[1]) or {}
    except YAMLError as error:
        raise InputError(f"{place(file)}: its front matter is no YAML ({visible(error)})") from None
    accepted = {"title": str, "deck": str, "holds": list}
    wrong = [name for name, value in given.items() if not isinstance(value, accepted.get(name, ()))] if isinstance(
        given, dict) else ["a list"]
    if wrong or not given.get("title"):
        raise InputError(f"{place(file)}: its front matter: expected title (text), deck (text) and holds (a list)"
                         + (f", not {visible(wrong[0])}" if wrong else ""))
    return Article(file, given["title"], given.get("deck", ""), tuple(map(str, given.get("holds", ()))),
                   text[front.end():], text[:front.end()].count("\n"))


def place(file):
    """Where a file lies, from the folder reports/."""
    return "/".join(file.parts[-2:])


# ---------------------------------------------------------------- values
class Value(float):
    """A value or bound of an Estimate, which prints itself as the Estimate does."""

    def __new__(cls, estimate, name):
        value = getattr(estimate, name)
        if value is None:
            raise InputError(f"{estimate} has no {name}: it was not repeated")
        self = super().__new__(cls, value)
        self.estimate = estimate
        return self

    def __str__(self):
        return self.estimate.number(float(self))

    def __abs__(self):
        """Without its sign, for 'loses 0.6 points'."""
        unit = self.estimate.unit.replace("points", "")
        return Value(dataclasses.replace(self.estimate, value=abs(float(self)), unit=unit), "value")


class Environment(SandboxedEnvironment):
    """Jinja2's sandbox, in which value, low and high of an Estimate print themselves with its decimals and sign."""

    def getattr(self, obj, attribute):
        if isinstance(obj, Estimate) and attribute in ("value", "low", "high") and getattr(obj, attribute) is not None:
            return Value(obj, attribute)
        return super().getattr(obj, attribute)


def environment():
    return Environment(undefined=jinja2.StrictUndefined, finalize=filled, autoescape=False, keep_trailing_newline=True)


def filled(value):
    """The text of a value that a template names. TypeError for what has no interval and is no count or text."""
    if isinstance(value, Placed | jinja2.Undefined):
        return value
    if isinstance(value, Estimate | Value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, str):
        return escape(value)
    raise TypeError(f"{value!r}: expected an Estimate, its value, low or high, a count or a text")


def plain(markdown):
    """A filled text that is no Markdown: one line, its escaped signs as they are."""
    return " ".join(html.unescape(markdown).split())


class Placed(str):
    """The mark of a Block in the text."""


class Names(types.SimpleNamespace):
    """Values by name, as attributes; what is no identifier has _ in place of other characters."""

    def __init__(self, values):
        super().__init__(**{re.sub(r"\W", "_", name): value for name, value in values.items()})


class StudyValues:
    """A Study with short names for what an article tells of it."""

    def __init__(self, step):
        self.step, self.result = step, step.result

    def __getattr__(self, name):
        return getattr(self.result, name)

    real = property(lambda self: self.result.arm(REAL).accuracy)
    mixed = property(lambda self: self.result.arm(MIXED).accuracy)
    equal_epochs = property(lambda self: self.result.arm(EQUAL_EPOCHS))
    rival_arm = property(lambda self: self.result.arm(self.result.rival))
    updates = property(lambda self: self.result.arm(REAL).steps)

    @property
    def share(self):
        """The share of synthetic images in a batch."""
        return Estimate(100 * self.step.config["synthetic_fraction"], unit="%")

    @property
    def margin_points(self):
        """The margin of no effect that the plan set."""
        return Estimate(self.result.margin, unit="points")

    @property
    def smallest(self):
        """The smallest gain that the study finds four times in five."""
        return Estimate(self.result.detectable, unit="points")

    def best(self, arm):
        """The AtOptimum of an arm."""
        return next(a for a in self.result.optimum if a.arm == arm)

    def of_generator(self, arm, images):
        """The GeneratorGain of an arm, whose generators saw so many images."""
        return next(g for g in self.result.generator_gains if (g.arm, g.images) == (arm, images))


def first_noise_gain(steps):
    """{schedule: the factor by which the first step from noise to image multiplies an error of the guess}"""
    gains = steps[0].result.facts["first_noise_gain"] if steps else {}
    return Names({name: Estimate(float(gain), unit="times") for name, gain in gains.items()})


def names(collected):
    """{name: value}: all that a template can name."""
    found = {
        "generators": Names({name: Mean(steps) for name, steps in collected.families(Generation).items()}),
        "networks": Names({name: Mean(steps) for name, steps in collected.families(Training).items()}),
        "first_noise_gain": first_noise_gain(collected.schedules),
        "doses": Names({step.label: step.result for step in collected.doses}),
        "walks": Names(only(
            (f"{w.schedule}_{w.target}", w) for step in collected.ablations for w in step.result.walks)),
        "paper": Names(claims.PAPER),
    }
    studies = {re.sub(r"\W", "_", step.label): StudyValues(step) for step in collected.studies}
    if taken := set(found) & set(studies):
        raise InputError(f"a study is called {min(taken)!r}: articles use this name; rename the run in the plan")
    return found | studies


def only(pairs):
    """{name: value}, without the names that occur more than once."""
    pairs = list(pairs)
    return {name: value for name, value in pairs if [other for other, _ in pairs].count(name) == 1}


# ---------------------------------------------------------------- a page
def page(article, collected):
    """The article as a list of Markdown texts and Blocks. InputError, naming file and line, where a condition does not
    hold, a name is unknown, or a value has no interval."""
    env, known = environment(), names(collected)
    check(article, env, known)
    blocks = []

    def put(kind, name, caption="", alt="", **options):
        caption = env.from_string(caption).render(known)
        alt, *says = (plain(env.from_string(text).render(known)) for text in (alt, *options.get("says", ())))
        options |= {"says": says} if says else {}
        blocks.append(Block(kind, name, caption, alt, options))
        return Placed(f"\x00{len(blocks) - 1}\x00")

    known |= {kind: lambda *words, kind=kind, **options: put(kind, *words, **options) for kind in ("figure", "table")}
    text = render(article, env, article.body, known, article.lines)
    deck = render(article, env, article.deck, known, 0)
    parts = re.split("\x00(\\d+)\x00", text)
    told = [blocks[int(part)] if k % 2 else part.strip() for k, part in enumerate(parts)]
    title = render(article, env, article.title, known, 0)
    return [f"# {title}\n\n" + (f'<p class="deck">{deck}</p>' if deck else ""), *(block for block in told if block)]


def render(article, env, source, known, before):
    """A template filled in. InputError with its line where that fails; before: lines of the file before it."""
    try:
        return env.from_string(source).render(known)
    except (jinja2.TemplateError, TypeError, AttributeError, KeyError, StopIteration, InputError) as error:
        line = getattr(error, "lineno", None) or line_of(error)
        where = f", line {line + before}" if line else ""
        raise InputError(f"{place(article.file)}{where}: {visible(getattr(error, 'message', None) or error)}") from None


def line_of(error):
    """The template's line in an error's traceback, or None."""
    line, trace = None, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def check(article, env, known):
    """InputError, naming file, line, condition and numbers, for the first condition that does not hold."""
    lines = article.file.read_text(encoding="utf-8").splitlines()
    for condition in article.holds:
        line = next((k for k, text in enumerate(lines, 1) if condition in text), 1)
        where = f"{place(article.file)}, line {line}: \"{condition}\""
        try:
            held = env.compile_expression(condition, undefined_to_none=False)(known)
            if isinstance(held, jinja2.Undefined):
                held._fail_with_undefined_error()
        except (jinja2.TemplateError, AttributeError, KeyError, TypeError, InputError, StopIteration) as error:
            raise InputError(f"{where} cannot be evaluated: {visible(error)}") from None
        if not held:
            raise InputError(f"{where} does not hold ({numbers(condition, env, known)}): rewrite the sentences that "
                             "stand on it")


def numbers(condition, env, known):
    """A condition with its names replaced by their numbers: '9.1 > 10.7'."""
    text = condition
    try:
        tree = ast.parse(condition, mode="eval")
    except SyntaxError:
        return text
    sides = {ast.get_source_segment(condition, side)
             for node in ast.walk(tree) if isinstance(node, ast.Compare) for side in (node.left, *node.comparators)
             if not isinstance(side, ast.Constant)}
    for side in sorted(sides, key=len, reverse=True):
        value = env.compile_expression(side)(known)
        bare = isinstance(value, float) and not isinstance(value, Value)
        text = text.replace(side, number(value) if bare else str(value))
    return text
