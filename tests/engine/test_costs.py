"""What a plan costs: counted from its parameters, times what one update or call takes here."""
import pytest

from lib.engine import costs
from lib.engine.plan import read_plan


def hours(monkeypatch, name, labels=None):
    """Core-hours where every update and every call of 100 images takes a second; and what was timed."""
    asked = []
    monkeypatch.setattr(costs, "timed", lambda *what: asked.append(what) or 1.0)
    monkeypatch.setattr(costs, "OTHERS", 0)
    plan = read_plan(name)
    return costs.core_hours(plan, labels or {job.label for job in plan.jobs}), asked


def test_the_work_of_a_plan_is_its_updates_and_its_calls(monkeypatch):
    found, asked = hours(monkeypatch, "cifar10-laptop")
    training = (300_000 + 2 * 100_000) / 64
    assert training * 5 < 3600 * found["train"] < 1.2 * training * 5                   # with the cool-downs
    images = 10 * (2 * 400 + 2 * 250) * 5
    assert 3600 * found["generate"] == pytest.approx(images * 12 * 2 / 100)            # 12 guided steps
    assert 3600 * found["augment"] == pytest.approx(5 * (6 * 160 + 5 * 320 + 4 * 1300))
    assert len(asked) == len(set(asked)) == 3                                          # each kind of work once


def test_only_the_runs_that_are_asked_for_count(monkeypatch):
    found, _ = hours(monkeypatch, "cifar10-laptop", {"generate/n1000.0"})
    assert set(found) == {"generate"} and 3600 * found["generate"] == pytest.approx(2500 * 24 / 100)


@pytest.mark.parametrize("what", [
    ("training", (1, 8, 8), (("channels", 8), ("channel_mult", (1,)), ("num_res_blocks", 1), ("attn_resolutions", ())), 4),
    ("sampling", (1, 8, 8), (("channels", 8), ("channel_mult", (1,)), ("num_res_blocks", 1), ("attn_resolutions", ())), 4),
    ("classifier", (1, 8, 8), "mlp", (8,), 4), ("classifier", (1, 8, 8), "airbench", (8,), 4)])
def test_each_kind_of_work_is_timed(monkeypatch, what):
    monkeypatch.setattr(costs.fastest_of, "__defaults__", (0.01,))
    assert 0 < costs.timed(*what) < 10


def test_a_small_cost_is_told_in_minutes():
    assert costs.sentence({}) == ""
    assert costs.sentence({"train": 0.1, "augment": 0.2}).startswith("about 18 core-minutes on this machine (train 6, augment 12)")
    assert costs.sentence({"train": 3.0, "augment": 8.04}).startswith("about 11.0 core-hours on this machine (train 3.0, augment 8.0)")


def test_a_study_of_images_from_elsewhere_costs_its_classifiers(monkeypatch):
    found, asked = hours(monkeypatch, "own-synthetic")
    assert found["external"] == 0 and found["augment"] > 0 and {what for what, *_ in asked} == {"classifier"}


@pytest.mark.parametrize("per_class, number", [(7, 70), ([1, 2, 3], 6), ({"fill": 60}, 600), ({"cat": 4, "dog": 5}, 9)])
def test_every_way_to_ask_for_images_has_its_number(per_class, number):
    assert costs.images(per_class, 10) == number
