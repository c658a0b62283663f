"""The ledger of test openings: every one is kept, and those of others are counted."""
import json
from types import SimpleNamespace

import numpy as np
import pytest

from lib.study import arms, classifiers, ledger
from tests.study.test_arms import toy


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dreaming-data" / "openings.jsonl"


def run(name="digits/augment/mlp", commit="c0ffee", **config):
    return SimpleNamespace(name=name, config={"steps": 400} | config, provenance={"commit": commit})


def opened(run, *sets, arm="real"):
    """The SealedTest of these test sets, opened once by the run."""
    test = arms.SealedTest(list(sets), ledger=ledger.Ledger(run))
    test.open(arm, [classifiers.MLP((1, 8, 8), 4, (3,), members=len(sets))])
    return test


def test_every_opening_is_a_line_with_test_plan_arm_date_and_commit(cache):
    test = opened(run(), toy(6), toy(8, seed=1))
    opened(run(), toy(6), toy(8, seed=1), arm="real + synthetic")
    first, second = map(json.loads, cache.read_text().splitlines())
    assert first["test"] == test.hashes and len(set(test.hashes)) == 2
    assert (first["plan"], first["commit"], first["arm"], second["arm"]) == ("digits/augment/mlp", "c0ffee", "real", "real + synthetic")
    assert first["date"][:4].isdigit()


@pytest.mark.parametrize("other, counts", [
    (run("digits/augment/cnn"), 1), (run(commit="f00"), 1), (run(steps=800), 1), (run(), 0)])
def test_the_openings_of_others_are_counted_and_not_those_of_the_same_run_again(other, counts):
    """What the referee found: a test was opened three times in a day, under changed plans, and one of them disclosed."""
    opened(other, toy(6), toy(8, seed=1))
    assert len(opened(run(), toy(6)).before()) == counts
    assert opened(run("else/augment/mlp"), toy(20, seed=9)).before() == []              # other images


def test_another_label_or_pixel_is_another_test():
    images = toy(6)
    assert ledger.content_hash(images) == ledger.content_hash(toy(6)) != ledger.content_hash(toy(6, seed=1))


def test_a_line_that_a_full_disk_cut_hides_no_other(cache):
    opened(run("a/augment/x"), toy(6))
    cache.write_text(cache.read_text()[:-20] + "\n" + cache.read_text())
    assert len(opened(run(), toy(6)).before()) == 1


def test_a_folder_that_cannot_be_written_warns_and_the_study_goes_on(cache):
    cache.parent.parent.joinpath("dreaming-data").write_text("a file in its place")
    with pytest.warns(UserWarning, match="this opening of the test is not noted"):
        test = opened(run(), toy(6))
    assert test.opened == ["real"]


def test_without_a_ledger_nothing_is_kept(cache):
    test = arms.SealedTest([toy(6)])
    test.open("real", [classifiers.MLP((1, 8, 8), 4, (3,))])
    assert not cache.exists() and test.before() == [] and np.array_equal(test.labels, toy(6).labels)
