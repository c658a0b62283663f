"""Playing changes nothing that git tracks: `lab` opens copies of the pages."""
import os

import pytest

from lib.engine import commands


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()
    for name in ("00_start", "10_schedules"):
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text("as committed")
    commands.copy_pages()
    return tmp_path


def test_what_was_changed_in_a_copy_stays_and_the_page_itself_too(root):
    (root / "mine" / "10_schedules.ipynb").write_text("T = 50")
    commands.copy_pages()
    assert (root / "mine" / "10_schedules.ipynb").read_text() == "T = 50"
    assert (root / "notebooks" / "10_schedules.ipynb").read_text() == "as committed"


def test_fresh_makes_the_copies_anew_and_keeps_other_files(root):
    for name in ("10_schedules.ipynb", "notes.txt"):
        (root / "mine" / name).write_text("mine")
    commands.copy_pages(fresh=True)
    assert [(root / "mine" / name).read_text() for name in ("10_schedules.ipynb", "notes.txt")] == ["as committed", "mine"]


def test_a_page_that_is_newer_than_its_copy_is_named(root, capsys):
    stamp = (root / "mine" / ".copied").stat().st_mtime
    os.utime(root / "notebooks" / "10_schedules.ipynb", (stamp + 9, stamp + 9))
    commands.copy_pages()
    assert "newer in notebooks/ than your copies: 10_schedules.ipynb" in capsys.readouterr().out
    commands.copy_pages(fresh=True)


def test_the_copies_are_ignored_by_git():
    lines = (commands.ROOT / ".gitignore").read_text().splitlines()
    assert "mine/" in lines
