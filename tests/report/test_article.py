"""Authored articles: numbers are filled in, and words that the numbers contradict stop the build."""
import dataclasses
import json
import re
import shutil

import made_up
import pytest
from jinja2 import nodes

from lib import ROOT, InputError
from lib.report import article, assemble, runs
from lib.report.collected import collect
from lib.report.drawings import FIGURES
from lib.report.results import Estimate

ARTICLES = sorted(article.FOLDER.glob("*.md"))
PUBLISHED = {file.parent.name: file.parent for file in sorted((ROOT / "reports" / "published").glob("*/plan.json"))}


def collected_of(folder):
    """The published runs of a plan."""
    about = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    return collect([runs.Run(folder / name) for name in about["runs"]], plan=about["plan"], title=about["title"],
                   about=about["about"])


@pytest.fixture
def page(tmp_path):
    """page(body, **front): the blocks of an article on a made-up plan with the studies mlp and cnn."""
    def make(body, title="A title", **front):
        lines = [f"{name}: {json.dumps(value)}" for name, value in ({"title": title} | front).items()]
        (tmp_path / "made-up.md").write_text("---\n" + "\n".join(lines) + f"\n---\n{body}", encoding="utf-8")
        return article.page(article.read(tmp_path / "made-up.md"), made_up.full())
    return make


# ---------------------------------------------------------------- filling in
def test_an_estimate_a_bound_and_a_count_are_filled_in(page):
    title, text = page("It gains {{ mlp.gain }}, at least {{ mlp.gain.low }}, with {{ mlp.real_images }} images.",
                       deck="From {{ mlp.real.value }} %.")
    gain = made_up.study().gain
    assert text == f"It gains {gain}, at least {gain.number(gain.low)}, with 500 images."
    assert title == '# A title\n\n<p class="deck">From 65.8 %.</p>'


def test_a_size_has_no_sign(page):
    assert page("{{ (mlp.steps_gain.value)|abs }}")[1] == "6.9" and page("{{ mlp.steps_gain.value }}")[1] == "+6.9"


def test_the_gain_by_one_generator_is_named_by_its_arm_and_the_images_it_saw(tmp_path):
    file = tmp_path / "scarce.md"
    file.write_text("---\ntitle: A\n---\nOne that saw more adds {{ few.of_generator('real + oracle', 1200).gain }}.", encoding="utf-8")
    made = made_up.collected(made_up.steps(made_up.scarce()))
    assert article.page(article.read(file), made)[1] == f"One that saw more adds {made_up.points(12.5, 1.0)}."


@pytest.mark.parametrize("body", ["{{ mlp.detectable }}", "{{ 1.5 }}", "{{ mlp.by_class }}", "{{ true }}", "{{ mlp.gain.clear }}"])
def test_what_has_no_interval_is_refused_with_its_line(page, body):
    with pytest.raises(InputError, match=r"made-up.md, line 6: .*expected an Estimate, its value, low or high, a count"):
        page(f"One.\n\n{body}", title="A")


@pytest.mark.parametrize("body, reason", [
    ("{{ mlp.gane }}", "gane"), ("{{ strong_mlp.gain }}", "'strong_mlp' is undefined"), ("{{ mlp.gain", "unexpected"),
    ("{{ mlp.best('nothing').gain }}", ""), ("{{ figure('forest').__class__.__mro__ }}", "unsafe"),
    ("{{ mlp.arm('nothing').gain }}", "None")])
def test_a_wrong_name_is_an_error_in_one_sentence(page, body, reason):
    with pytest.raises(InputError, match=f"^...*/made-up.md.*{reason}") as error:
        page(body)
    assert "\n" not in str(error.value)


def test_a_class_name_is_a_word(page):
    name = next(iter(made_up.study().by_class.index))
    assert page("{{ paper.without }} {{ '*' ~ '<b>' }}")[1] == "44&#32;&#37; &#42;&#60;b&#62;".replace("&#32;", " ")
    assert name == "0"


@pytest.mark.parametrize("text", ["no front matter", "---\ntitle: [\n---\n", "---\ntitle: 3\n---\n", "---\nholds: []\n---\n",
                                  "---\ntitle: A\nsubtitle: B\n---\n", "---\n- A\n---\n"])
def test_a_wrong_front_matter_is_named(tmp_path, text):
    (tmp_path / "x.md").write_text(text)
    with pytest.raises(InputError, match="x.md: "):
        article.read(tmp_path / "x.md")


# ---------------------------------------------------------------- conditions
def test_a_condition_that_does_not_hold_names_file_line_condition_and_numbers(page):
    with pytest.raises(InputError) as error:
        page("Text.", holds=["mlp.gain.low > 0", "cnn.gain.low > mlp.gain.high"])
    assert re.fullmatch(r'.*/made-up.md, line 3: "cnn.gain.low > mlp.gain.high" does not hold \(\S+ > \S+\): rewrite '
                        "the sentences that stand on it", str(error.value))


@pytest.mark.parametrize("condition", ["mlp.gane > 0", "nothing.gain.low > 0", "mlp.gain.low >"])
def test_a_condition_that_cannot_be_evaluated_is_an_error(page, condition):
    with pytest.raises(InputError, match="cannot be evaluated"):
        page("Text.", holds=[condition])


# ---------------------------------------------------------------- figures and tables
def test_a_figure_is_placed_with_its_filled_caption_and_alt_text(page):
    _, before, block, after = page('A\n{{ figure("gains", "It gains {{ mlp.gain }}.", alt="{{ mlp.gain.bare }}", study="mlp") }}\nB')
    assert (before, after) == ("A", "B") and block.name == "gains" and block.options == {"study": "mlp"}
    assert block.caption == f"It gains {made_up.study().gain}." and block.alt == made_up.study().gain.bare


@pytest.mark.parametrize("kind", ["figure", "table"])
def test_an_unknown_figure_or_table_is_named(page, kind, tmp_path):
    blocks = page(f'{{{{ {kind}("nothing", "c") }}}}')
    with pytest.raises(InputError, match=f"{kind} 'nothing': expected one of "):
        assemble.show(runs.Run(tmp_path), made_up.full(), blocks[1:])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_from_some_published_results(name):
    import matplotlib.pyplot as plt
    made = [lambda folder=folder: collected_of(folder) for folder in PUBLISHED.values()]
    made.append(lambda: made_up.collected(made_up.steps(made_up.scarce())))         # no published plan has several rungs
    for make in made:
        try:
            drawn = FIGURES[name].draw(make())
        except (AttributeError, KeyError, StopIteration, IndexError, TypeError):      # this plan has no such results
            continue
        assert drawn.figure.axes and drawn.step.name
        plt.close(drawn.figure)
        return
    raise AssertionError(f"no published plan has the figure {name}")


@pytest.mark.parametrize("name", ["images", "limit_images"])
def test_a_figure_of_images_that_are_not_here_says_so_in_a_sentence(name, monkeypatch):
    from lib.report.collected import Step
    collected = collected_of(PUBLISHED["why-cosine"])
    monkeypatch.setattr(Step, "sheet", None)
    with pytest.raises(InputError, match=r"figure of generate/.*: its images or its real data \(digits.*\) are not here: expected"):
        FIGURES[name].draw(collected)


# ---------------------------------------------------------------- truth
ALLOWED = re.compile(r"""
      https?://\S+ | \d{4}\.\d{4,5}         # addresses; arXiv's numbers
    | (?<!\d)(?:19|20)\d\d(?!\d)            # years
    | \]\([^)\s]*\)                        # targets of links
    | \d+x\d+ | 95\ ?% | CIFAR-10           # sizes of images; the level of every interval; a name
    | \b0(?![.,]?\d)                       # no difference
    """, re.VERBOSE)


def typed_numbers(source):
    """The digits that a person typed into a template's text, captions and alt texts, with what stands around them.
    Years, sizes of images, citations and the level of the intervals are let through."""
    found = []
    for node in article.environment().parse(source).find_all((nodes.TemplateData, nodes.Call)):
        if isinstance(node, nodes.TemplateData):
            text = ALLOWED.sub("", node.data)
            found += [m[0].strip() for m in re.finditer(r"[^\s]*\d[^\s]*", text)]
        elif isinstance(node.node, nodes.Name) and node.node.name in ("figure", "table"):
            texts = [*node.args[1:], *(k.value for k in node.kwargs if k.key in ("caption", "alt"))]
            found += [m for text in texts if isinstance(text, nodes.Const) for m in typed_numbers(str(text.value))]
    return found


@pytest.mark.parametrize("file", ARTICLES, ids=lambda file: file.stem)
def test_no_number_of_a_result_is_typed_by_hand(file):
    written = article.read(file)
    assert not [number for text in (written.title, written.deck, written.body) for number in typed_numbers(text)]


@pytest.mark.parametrize("text, found", [("It gains 9 points.", ["9"]), ("Ho 2020, 32x32, 95 % of {{ a }}.", []),
                                         ('{{ figure("x", "From 44.1 %", alt="{{ b }} and 3") }}', ["44.1", "3"])])
def test_a_typed_number_is_found_in_text_captions_and_alt_texts(text, found):
    assert typed_numbers(text) == found


@pytest.mark.parametrize("file", ARTICLES, ids=lambda file: file.stem)
def test_every_article_says_what_its_published_numbers_say(file):
    collected = collected_of(PUBLISHED[file.stem])
    assert article.page(article.read(file), collected)


def contrary(estimate):
    """Estimates that say something else: of a clear difference its opposite, of an unclear one clear ones."""
    turned = dataclasses.replace(estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low)
    if estimate.clear:
        return [turned]
    width = estimate.high - estimate.low
    return [dataclasses.replace(estimate, value=estimate.value + k * width, low=estimate.low + k * width,
                                high=estimate.high + k * width) for k in (2, -2)]


def changed(value, path, new):
    """`value`, nested dataclasses and tuples, with `new` at `path`."""
    if not path:
        return new
    head, *rest = path
    if isinstance(value, tuple):
        return tuple(changed(v, rest, new) if k == head else v for k, v in enumerate(value))
    return dataclasses.replace(value, **{head: changed(getattr(value, head), rest, new)})


def estimates(value, path=()):
    """The paths of all Estimates with an interval in a result."""
    if isinstance(value, Estimate):
        return [path] if value.low is not None else []
    if isinstance(value, tuple):
        return [p for k, v in enumerate(value) for p in estimates(v, (*path, k))]
    if dataclasses.is_dataclass(value):
        return [p for f in dataclasses.fields(value) for p in estimates(getattr(value, f.name), (*path, f.name))]
    return []


def at(value, path):
    for head in path:
        value = value[head] if isinstance(value, tuple) else getattr(value, head)
    return value


GAINS = "gain", "paper_gain", "steps_gain", "presentation_gain", "displacement"


def false_results(written, collected):
    """Copies of the plan's runs, each with one difference that the article tells replaced by a contrary one."""
    text = " ".join([written.deck, written.body])
    for k, step in enumerate(collected.steps):
        label = re.sub(r"\W", "_", step.label)
        for path in estimates(step.result):
            told = path and path[0] in GAINS and f"{label}.{path[0]}" in text
            if told or path[-1:] == ("lost",):
                for new in contrary(at(step.result, path)):
                    steps = list(collected.steps)
                    steps[k] = dataclasses.replace(step, result=changed(step.result, path, new))
                    yield f"{step.name}: {path} is {new}", dataclasses.replace(collected, steps=tuple(steps))


@pytest.mark.parametrize("file", ARTICLES, ids=lambda file: file.stem)
def test_words_that_the_numbers_contradict_stop_the_build(file):
    written = article.read(file)
    false = list(false_results(written, collected_of(PUBLISHED[file.stem])))
    assert len(false) >= 4
    for what, collected in false:
        with pytest.raises(InputError, match="does not hold"):
            article.page(written, collected)
            print(what)


# ---------------------------------------------------------------- told again
@pytest.mark.parametrize("plan", PUBLISHED)
def test_published_results_read_and_their_pages_can_be_made_again(plan):
    collected = collected_of(PUBLISHED[plan])
    assert collected.steps and all(step.result for step in collected.steps)
    blocks = assemble.page(collected)
    assert blocks[0].startswith("# ") and len(blocks) > 5


def test_a_published_copy_holds_no_folder_of_a_machine(tmp_path):
    for folder in PUBLISHED.values():
        for file in folder.glob("*/*/*.json"):
            assert not re.search(r"/(home|root|Users)/", file.read_text(encoding="utf-8")), file
    shutil.rmtree(tmp_path)
