"""Playing changes nothing that git tracks: `lab` opens copies of the pages; and where else a page runs."""
import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from lib import ROOT
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


# ---------------------------------------------------------------- elsewhere
@pytest.fixture(params=["10_schedules", "20_train_ddpm", "30_generate"])
def first_cell(request, tmp_path):
    """Runs the first cell of a page in a new Python, `before` it other code; returns what it prints and its errors."""
    cells = nbformat.read(ROOT / "notebooks" / f"{request.param}.ipynb", as_version=4).cells
    source = next(cell.source for cell in cells if cell.source.startswith("# the lib beside this page"))

    def run(folder, before="", path=os.environ["PATH"], typed="", options=()):
        code = f"{before}\n{source}\nimport lib, os\nprint(lib.__file__, os.getcwd())"
        done = subprocess.run([sys.executable, *options, "-c", code], cwd=folder, input=typed, capture_output=True, text=True,
                              env={"PATH": path})
        return done.stdout, done.stderr
    return run


@pytest.fixture
def clone(tmp_path):
    """A small repository with a lib."""
    for name in ("lib/__init__.py", "lib/engine/__init__.py", "lib/engine/notebook.py", "notebooks/README.md"):
        (tmp_path / "clone of it" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "clone of it" / name)
    return tmp_path / "clone of it"


def test_a_page_imports_the_lib_beside_it_and_none_that_the_environment_knows(first_cell, clone):
    out, _ = first_cell(clone / "notebooks")
    assert out.startswith(str(clone / "lib" / "__init__.py"))


def test_a_page_without_its_repository_says_in_one_sentence_what_to_do(first_cell, tmp_path):
    out, error = first_cell(tmp_path, options=["-S"])                       # without what is installed
    assert not out and error.splitlines()[-1].startswith("ImportError: clone the repository, `pip install .` there")


def test_in_colab_the_first_cell_clones_and_installs_once(first_cell, clone, tmp_path):
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=clone, check=True)
    (tmp_path / "bin").mkdir()
    pip = tmp_path / "bin" / "pip"
    pip.write_text('#!/bin/sh\necho "pip $@"\n')
    pip.chmod(0o755)
    (tmp_path / "content").mkdir()
    colab = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('colab')"
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    out, error = first_cell(tmp_path / "content", colab, path, typed=f"{clone}\n")
    folder = tmp_path / "content" / "copy"
    assert "pip install ./copy" in out and out.rstrip().endswith(f"{folder / 'lib' / '__init__.py'} {folder / 'notebooks'}"), error
    again, _ = first_cell(tmp_path / "content", colab, path)                # after a restart of its kernel
    assert again.split() == [str(folder / "lib" / "__init__.py"), str(folder / "notebooks")]
