"""The README prints no number that a published run did not write, and its links lead somewhere."""
import json
import re

import pytest

from lib import ROOT
from lib.report import results

README = (ROOT / "README.md").read_text(encoding="utf-8")
PUBLISHED = ROOT / "reports" / "published"
PAGES = [ROOT / name for name in ("README.md", "lib/README.md", "lib/bench/README.md", "notebooks/README.md",
                                  "reports/README.md")]


def study(plan, name):
    """A published Study."""
    held = json.loads((PUBLISHED / plan / "result.json").read_text(encoding="utf-8"))
    return results.decode(held[f"augment/{name}"], results.Study)


def answer(beginning):
    """The paragraph of the README that begins so, and the estimates in it."""
    text = " ".join(re.search(rf"(?s)\*\*{beginning}.*?\n\n", README)[0].split())
    return text, set(re.findall(r"[+−]?\d+\.\d points \([^)]*\)", text))


def text_of(page):
    return " ".join(page.read_text(encoding="utf-8").split())


def test_the_answer_holds_the_numbers_of_the_published_report():
    mlp, cnn = (study("cifar10-laptop", name) for name in ("mlp", "cnn"))
    text, said = answer("The answer, on CIFAR-10")
    best = {arm.arm: arm for arm in mlp.optimum}
    assert said == {str(e) for e in (mlp.gain, mlp.optimum_gain, cnn.gain, cnn.arm(cnn.rival).gain, mlp.paper_gain,
                                     mlp.steps_gain, mlp.arm(mlp.rival).gain, best[mlp.rival].gain)}
    assert not any(arm.edge for arm in best.values()) and best["real"].steps == best["real + synthetic"].steps
    assert f"each at its best of 1,500 to 12,000 steps ({best['real'].steps:,})" in text
    assert f"at its best ({best[mlp.rival].steps:,} steps)" in text
    tried = [re.findall(r"([\d,]+) steps at", row) for row in mlp.choices["candidates"] if " steps at" in row]
    assert tried == [["1,500", "3,000", "6,000", "12,000"]] * len(best)
    assert (mlp.arm("real").steps, cnn.arm("real").steps, cnn.optimum) == (1500, 2500, ())
    assert "training steps (1,500)" in text and "tried at 2,500 steps only" in text
    assert f"{mlp.synthetic_images:,} synthetic images beside {mlp.real_images:,} real ones" in text
    assert f"n = {mlp.replicates} repetitions of the whole experiment" in text
    held = json.loads((PUBLISHED / "cifar10-laptop" / "result.json").read_text(encoding="utf-8"))
    minutes = [held[f"train/cosine.{k}"]["seconds"] / 60 for k in range(mlp.replicates)]
    assert f"learned for {min(minutes):.0f} to {max(minutes):.0f} minutes of one processor core" in text


def test_the_answer_on_digits_holds_the_numbers_of_the_published_report():
    mlp, cnn, plain = (study("digits", name) for name in ("mlp", "cnn", "plain"))
    text, said = answer("On handwritten digits")
    assert said == {str(e) for e in (mlp.gain, mlp.paper_gain, mlp.arm(mlp.rival).gain, cnn.gain, plain.gain)}
    assert f"{mlp.synthetic_images:,} synthetic images beside {mlp.real_images:,} real ones" in text
    assert f"n = {mlp.replicates} repetitions, for the plain digits {plain.replicates}." in text
    assert plain.none and f"none, by a margin of {plain.margin:g} points" in text


def blocks(page):
    """The fenced Python code of a page."""
    return re.findall(r"(?ms)^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("block", [0, 1])
def test_the_code_on_the_front_page_runs(block, monkeypatch, tmp_path, capsys):
    assert len(blocks("README.md")) == 2
    (tmp_path / "reports").symlink_to(ROOT / "reports")
    monkeypatch.chdir(tmp_path)                                     # what it writes goes there
    held = {}
    exec(compile(blocks("README.md")[block], "README.md", "exec"), held)
    if block == 0:
        assert held["images"].shape == (4, 3, 32, 32) and (tmp_path / "dream.png").stat().st_size > 1000
    else:
        said = capsys.readouterr().out
        assert "6,400 images, loss" in said and int(re.search(r"gives (\d+)%", said)[1]) > 40


def test_the_map_of_lib_shows_the_same_code():
    assert blocks("lib/README.md") == blocks("README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert links and all((page.parent / link).exists() for link in links), links


def test_every_command_of_the_pages_exists():
    from lib.engine import commands
    used = {name for page in [*PAGES, ROOT / "tests" / "faults.md"] for name in re.findall(r"python3 -m lib ([a-z]+)", text_of(page))}
    assert used and all(callable(getattr(commands, name)) for name in used)
