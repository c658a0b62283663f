"""The README prints no number that a published run did not write, and its links lead somewhere."""
import re

import pytest

from lib import ROOT
from lib.report.runs import Run
from lib.study import FURTHER, MIXED, ORACLE, REAL

README = (ROOT / "README.md").read_text(encoding="utf-8")
PUBLISHED = ROOT / "reports" / "published"
PAGES = [ROOT / name for name in ("README.md", "lib/README.md", "lib/bench/README.md", "notebooks/README.md",
                                  "reports/README.md")]


def study(plan, name):
    """A published Study."""
    return Run(PUBLISHED / plan / "augment" / name).result


def text_of(page):
    return " ".join(page.read_text(encoding="utf-8").split())


def cifar10():
    """The studies of 1,000, 5,000 and 45,000 real images, and {how long its generator learned: gain} of each arm."""
    studies = [study("cifar10-laptop", name) for name in ("n1000", "n5000", "n45000")]
    return studies, [{arm: [g.gain for g in sorted(s.generator_gains, key=lambda g: g.images) if g.arm == arm]
                      for arm in (MIXED, ORACLE)} for s in studies]


def test_the_answer_holds_the_numbers_of_the_published_report():
    (few, some, many), (few_gains, some_gains, many_gains) = cifar10()
    text = " ".join(re.search(r"(?s)\*\*The answer.*?\n\n", README)[0].split())
    assert [s.real_images for s in (few, some, many)] == [1000, 5000, 45_000]
    for gain in (few_gains[ORACLE][-1], some_gains[ORACLE][-1], many_gains[MIXED][-1], few_gains[MIXED][-1]):
        assert str(gain) in text
    assert few_gains[ORACLE][-1].above_zero and many_gains[MIXED][-1].below_zero
    assert len(text.split()) <= 100


def test_the_tables_hold_the_numbers_of_the_published_reports():
    studies, gains = cifar10()
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in README.splitlines() if line.startswith("| ")]
    further = [s.best_gain(FURTHER) for s in studies]
    many = gains.pop()[MIXED]
    for held in ([*(g[MIXED][-1].bare for g in gains), "the next rows"], [*(g[ORACLE][0].bare for g in gains), many[0].bare],
                 [*(g[ORACLE][-1].bare for g in gains), many[-1].bare],
                 [f.bare if f else "" for f in further],
                 [s.arm(REAL).accuracy.bare for s in studies], [f"{s.replicates}" for s in studies]):
        assert held in rows
    mlp = study("digits", "mlp")
    for gain in (mlp.paper_gain, mlp.gain, mlp.optimum_gain, mlp.arm(mlp.rival).gain):
        assert [gain.bare] in rows


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


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert links and all((page.parent / link).exists() for link in links), links


def test_every_command_of_the_pages_exists():
    from lib.engine import commands
    used = {name for page in [*PAGES, ROOT / "tests" / "faults.md"] for name in re.findall(r"python3 -m lib ([a-z]+)", text_of(page))}
    assert used and all(callable(getattr(commands, name)) for name in used)
