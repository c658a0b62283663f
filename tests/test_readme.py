"""The README prints no number that a published run did not write, and its links lead somewhere."""
import re

import pytest

from lib import ROOT
from lib.report.runs import Run

README = (ROOT / "README.md").read_text(encoding="utf-8")
PUBLISHED = ROOT / "reports" / "published"
PAGES = [ROOT / name for name in ("README.md", "lib/README.md", "lib/bench/README.md", "notebooks/README.md",
                                  "reports/README.md")]


def study(plan, name):
    """A published Study."""
    return Run(PUBLISHED / plan / "augment" / name).result


def text_of(page):
    return " ".join(page.read_text(encoding="utf-8").split())


def test_the_answer_holds_the_numbers_of_the_published_report():
    mlp, cnn = (study("cifar10-laptop", name) for name in ("mlp", "cnn"))
    text = " ".join(re.search(r"(?s)\*\*The answer.*?\n\n", README)[0].split())
    best = {arm.arm: arm for arm in mlp.optimum}
    assert mlp.gain.above_zero is False and not mlp.optimum_gain.clear and not cnn.optimum
    assert f"{mlp.synthetic_images:,} synthetic images beside {mlp.real_images:,} real ones" in text
    assert str(mlp.gain) in text and f"loses {-cnn.gain.value:.1f} points" in text and mlp.rival == "real + flip"
    assert f"gives the MLP {mlp.arm(mlp.rival).gain.value:.1f} points, {best[mlp.rival].gain.value:.1f} with longer" in text
    assert len(text.split()) <= 90


def test_the_table_holds_the_numbers_of_the_published_reports():
    studies = [study("cifar10-laptop", "mlp"), study("cifar10-laptop", "cnn"), study("digits", "mlp")]
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in README.splitlines() if line.startswith("| ")]
    for held in ([s.paper_gain.bare for s in studies], [s.gain.bare for s in studies],
                 [s.optimum_gain.bare if s.optimum else "one length only" for s in studies],
                 [s.arm(s.rival).gain.bare for s in studies], [f"{s.replicates}" for s in studies]):
        assert held in rows


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
