"""How arms are trained: repeatably, by the recipe, and chosen on validation images alone."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.data.images import Images
from lib.study import arms, classifiers, fitting, statistics
from tests.study.test_arms import recipe, toy


def test_the_same_seed_gives_the_same_networks_and_another_others():
    arm, watched = arms.mix([toy(60)], [[toy(40, seed=1)], [toy(40, seed=2)]]), [toy(50, seed=3)]
    a, b, other = (fitting.fit(arm, recipe(steps=20, seed=s, seeds=2), watched) for s in (0, 0, 7))
    for x, y, z in zip(a.models, b.models, other.models, strict=True):
        assert torch.equal(x.weights[0], y.weights[0]) and not torch.equal(x.weights[0], z.weights[0])
    assert a.validation.tolist() == b.validation.tolist() and len(a.models) == 2 and a.validation.shape == (4,)
    assert [step for step, _ in a.curve] == list(range(1, 21)) and all(len(v) == 4 for _, v in a.curve)
    assert all(np.array_equal(x, y) for (_, x), (_, y) in zip(a.curve, b.curve, strict=True))


def test_a_member_does_not_depend_on_how_many_there_are():
    arm, watched = arms.mix([toy(60)], [[toy(40, seed=1)]]), [toy(50, seed=3)]
    many, one = (fitting.fit(arm, recipe(steps=30, seeds=n, seed=s), watched) for n, s in ((4, 0), (1, 2)))
    # the same arithmetic in another batched product: float32 rounding over 30 steps
    torch.testing.assert_close(many.models[0].weights[0][2], one.models[0].weights[0][0], rtol=1e-3, atol=1e-4)
    assert many.validation[2] == pytest.approx(one.validation[0], abs=2.1)                  # one of 50 images


def test_the_accuracies_of_a_fit_are_those_of_the_validation_images(monkeypatch):
    monkeypatch.setattr(fitting, "WATCHED", 10)
    arm, watched = arms.mix([toy(60)], [[toy(40, seed=1)], [toy(40, seed=2)]]), [toy(50, seed=3)]
    f = fitting.fit(arm, recipe(steps=40, seeds=3), watched)
    p = np.concatenate([classifiers.predict(m, [watched[0].images])[0] for m in f.models])    # (generators * seeds, N)
    labels = watched[0].labels.numpy()
    assert f.validation == pytest.approx(statistics.accuracy(p, labels))
    assert f.curve[-1][0] == 40 and f.curve[-1][1] == pytest.approx(statistics.accuracy(p[:, :10], labels[:10]))
    assert len(f.curve) == 20


def test_the_recipe_reaches_the_training(monkeypatch):
    calls = []

    def spy(model, batches, **options):
        calls.append(({"seed": batches.seed, "members": model.members, "batch": batches(0)[1].shape[1],
                       "parts": [len(part.images) for part in batches.parts]}, options))
        yield {"done": options["steps"]}

    monkeypatch.setattr(fitting.classifiers, "train_classifier", spy)
    r = recipe(steps=90, batch=9, lr=0.5, weight_decay=0.25, optimizer="sgd", synthetic_fraction=0.3, seed=4)
    made, totals = toy(6, seed=1), []
    for arm in (arms.mix([toy(8)], [[made]], augment="shift"), arms.mix([toy(8)], steps=30)):
        fitting.fit(arm, r, [toy(8)], lambda records, total, about: totals.append(total) or records)
    (seen, options), (seen_alone, options_alone) = calls
    assert seen == {"seed": 4, "members": 5, "batch": 9, "parts": [8, 6]} and seen_alone == seen | {"parts": [8]}
    same = {"lr": 0.5, "weight_decay": 0.25, "optimizer": "sgd"}
    assert options | same | {"steps": 90} == options and options_alone | same | {"steps": 30} == options_alone
    assert options["augment"].__name__ == "shift" and options_alone["augment"] is None and totals == [90, 30]


def test_the_choice_is_the_best_on_validation_images_whatever_is_true_elsewhere():
    train, watched = toy(200, signal=40), toy(100, seed=3, signal=40)
    turned = [Images(x.images, (x.labels + 1) % 4, x.classes) for x in (train, watched)]
    candidates = {"right": (arms.mix([train]), recipe()), "turned": (arms.mix([turned[0]]), recipe())}
    choices = fitting.Choices([watched])
    assert choices.best("labels", candidates) == "right" and choices.fit(*candidates["right"]).validation.mean() > 80
    assert fitting.Choices([turned[1]]).best("labels", candidates) == "turned"


def test_of_equals_the_first_is_chosen_and_by_its_mean(monkeypatch):
    monkeypatch.setattr(fitting, "fit", lambda arm, recipe, validation, track, about: fitting.Fit([], [], np.array(arm)))
    choices = fitting.Choices([None])
    assert choices.best("first", {"a": ((1, 2), 0), "b": ((3, 1), 0), "c": ((2, 2), 0)}) == "b"
    assert choices.best("mean", {"low": ((50, 50, 51), 0), "peak": ((0, 0, 99), 0)}) == "low"
    assert choices.table.to_dict("list") == {"choice": ["first", "mean"], "taken": ["b", "low"],
                                             "candidates": ["a: 1.5, b: 2.0, c: 2.0", "low: 50.3, peak: 33.0"]}


def test_the_rival_is_the_classical_arm_that_is_best_on_validation():
    fits = {arm: fitting.Fit([], [], np.array(v)) for arm, v in (
        ("real", [90]), ("real + flip", [50, 52]), ("real + shift", [60, 58]), ("real + synthetic", [99]))}
    assert fitting.best_rival(fits) == "real + shift"
    assert fitting.best_rival({"real": fits["real"]}) == ""


def test_the_recipe_is_read_from_a_config_but_for_what_is_given():
    config = SimpleNamespace(**{k: v for k, v in vars(recipe()).items() if k != "device"}, arms=["real"])
    assert fitting.Recipe.of(config, device=torch.device("cpu"), lr=0.5) == recipe(lr=0.5)


def test_choices_are_made_within_the_first_two_replicates(monkeypatch):
    seen = []

    def spy(arm, recipe, validation, track, about):
        seen.append((len(arm.variants[0][0]), len(validation)))
        return fitting.Fit([], [], np.zeros(len(validation)))

    monkeypatch.setattr(fitting, "fit", spy)
    train = [toy(8, seed=s) for s in range(5)]
    choices, arm = fitting.Choices(train), arms.mix(train)
    choices.best("rate", {"a": (arm, recipe()), "b": (arm, recipe(lr=1.0))})
    choices.fit(arm, recipe())
    choices.fit(arms.mix(train), recipe())                     # the same again: not trained twice
    assert seen == [(2, 2), (2, 2), (5, 5)]
    assert choices.best("setting", {"it": (arms.mix(train), recipe(lr=0.7))}) == "it" and len(seen) == 3   # untried
    assert list(choices.table["candidates"]) == ["a: 0.0, b: 0.0", "no other"]


# ---------------------------------------------------------------- each arm at its own optimum
def best_at(steps, lr):
    """A stand-in of `fit`: validation is highest at these steps and this rate."""
    def fit(arm, recipe, validation, track, about):
        return fitting.Fit([recipe], [], np.full(2, 90.0 - abs(np.log(recipe.steps / steps)) - abs(np.log(recipe.lr / lr))))
    return fit


@pytest.mark.parametrize("steps, taken, edge", [(200, 200, False), (5000, 500, True), (1, 50, True)])
def test_an_arm_takes_the_steps_and_the_rate_that_are_best_on_validation_and_says_where_the_edge_is(monkeypatch, steps, taken, edge):
    monkeypatch.setattr(fitting, "fit", best_at(steps, 0.3))
    choices = fitting.Choices([toy(8)])
    found = fitting.optima(choices, {"real": arms.mix([toy(8)]), "other": arms.mix([toy(8, seed=1)])}, recipe(steps=100),
                         [1, 0.5, 5, 2], [0.1, 0.3])
    assert [(o.recipe.steps, o.recipe.lr, o.edge) for o in found.values()] == [(taken, 0.3, edge)] * 2
    assert {row.count(":") for row in choices.table["candidates"]} == {8}              # as many for each arm
    assert fitting.optima(choices, {"real": arms.mix([toy(8)])}, recipe(), [], [0.1]) == {}
