"""A study that was stopped goes on behind its last trained arm, with the same networks, bit for bit."""
import warnings

import numpy as np
import pytest
import torch

from lib.data.images import Images
from lib.engine import parameters
from lib.report import runs
from lib.study import arms, classifiers, fitting
from lib.study.kept import Kept
from tests.study.test_arms import recipe, toy


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Opens the run of a study, the same again at each call."""
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    config = parameters.SchedulesConfig(schedules=["linear"], T=10, seed=0, run_dir="reports/runs/p/augment/x")
    return lambda code="1": runs.start("augment", config, code=code)


def states(run):
    return sorted(path.name for path in run.folder.glob("state-*"))


def alike(a, b):
    weights = [torch.cat([p.flatten() for model in fit.models for p in model.state_dict().values()]) for fit in (a, b)]
    curves = [np.concatenate([accuracies for _, accuracies in fit.curve]) for fit in (a, b)]
    return (torch.equal(*weights) and [step for step, _ in a.curve] == [step for step, _ in b.curve]
            and np.array_equal(*curves) and np.array_equal(a.right, b.right, equal_nan=True))


STUDIES = {                     # images of validation, and an arm
    "repeats": ([toy(20)], arms.mix([toy(20)], [[toy(40, seed=1)], [toy(40, seed=2)]], augment="shift")),
    "replicates": ([toy(20), toy(24, seed=5)], arms.mix([toy(20), toy(24, seed=3)], [[toy(40, seed=1), toy(40, seed=2)]])),
}


@pytest.mark.parametrize("which", STUDIES)
@pytest.mark.parametrize("changed", [{}, {"classifier": "strong-mlp"}, {"classifier": "cnn", "widths": [4, 4], "steps": 10},
                                     {"classifier": "strong-mlp", "optimizer": "nesterov"},
                                     {"classifier": "airbench", "widths": [4], "steps": 10, "optimizer": "nesterov"}])
def test_what_was_trained_before_a_stop_is_not_trained_again(begin, monkeypatch, which, changed):
    validation, arm = STUDIES[which]
    r, asked = recipe(**{"steps": 20, "batch": 8, "seeds": 2, **changed}), []
    count = classifiers.train_classifier
    monkeypatch.setattr(classifiers, "train_classifier", lambda *a, **k: asked.append(k["steps"]) or count(*a, **k))
    first = fitting.Choices(validation, kept=Kept(begin())).fit(arm, r)
    trainings = len(asked)
    again = fitting.Choices(validation, kept=Kept(begin())).fit(arm, r)
    assert len(asked) == trainings and alike(first, again)
    assert all(not model.training for model in again.models)
    assert all(np.array_equal(*(classifiers.predict(m, [validation[0].images])[0] for m in (a, b)))
               for a, b in zip(first.models, again.models, strict=True))


def test_whatever_can_change_an_arm_has_it_trained_again(begin):
    validation, arm = STUDIES["replicates"]
    (real, extra), = arm.variants
    turned = Images(extra[0].images, extra[0].labels.flip(0), extra[0].classes)
    others = [
        (arm, recipe(lr=0.5), validation), (arm, recipe(seed=1), validation), (arm, recipe(), validation[::-1]),
        (arms.mix(real, [[turned, extra[1]]]), recipe(), validation), (arms.mix(real), recipe(), validation),
        (arms.mix(real, [[one] for one in extra]), recipe(), validation),
        (arms.mix(real, [extra], augment="flip"), recipe(), validation),
        (arms.mix(real, [extra], steps=9), recipe(), validation)]
    kept, other_code = Kept(begin()), Kept(begin("2"))
    files = [kept.file(*given) for given in [(arm, recipe(), validation), *others]] + [other_code.file(arm, recipe(), validation)]
    assert len(set(files)) == len(files)
    assert kept.file(arms.mix([toy(20), toy(24, seed=3)], [[toy(40, seed=1), toy(40, seed=2)]]), recipe(), validation) == files[0]


def test_a_damaged_arm_is_set_aside_and_trained_again(begin):
    validation, arm = STUDIES["replicates"]
    run, r = begin(), recipe(steps=20, batch=8)
    first = fitting.Choices(validation, kept=Kept(run)).fit(arm, r)
    (name,) = states(run)
    content = bytearray(run.path(name).read_bytes())
    content[-5] ^= 1
    run.path(name).write_bytes(content)
    with pytest.warns(UserWarning, match=f"{name}.damaged now, and the arm is trained again"):
        again = fitting.Choices(validation, kept=Kept(begin())).fit(arm, r)
    assert alike(first, again) and states(run) == [name, f"{name}.damaged"]
    with warnings.catch_warnings(action="error"):
        fitting.Choices(validation, kept=Kept(begin())).fit(arm, r)


def test_an_arm_that_was_stopped_leaves_nothing(begin):
    validation, arm = STUDIES["replicates"]

    def stopped(records, total, about):
        yield next(records)
        raise KeyboardInterrupt

    run = begin()
    with pytest.raises(KeyboardInterrupt):
        fitting.Choices(validation, stopped, Kept(run)).fit(arm, recipe(steps=20, batch=8))
    assert states(run) == []


def test_a_study_of_large_networks_resumes_after_the_last_network(begin, monkeypatch):
    validation, arm = STUDIES["replicates"]
    r, asked = recipe(classifier="airbench", widths=[4], steps=6, batch=8, optimizer="nesterov"), []
    train = classifiers.train_classifier

    def stopping(model, batches, **given):
        asked.append(batches.seed)
        if len(asked) == 2:
            raise KeyboardInterrupt
        yield from train(model, batches, **given)

    monkeypatch.setattr(classifiers, "train_classifier", stopping)
    with pytest.raises(KeyboardInterrupt):
        fitting.Choices(validation, kept=Kept(begin())).fit(arm, r)
    resumed = fitting.Choices(validation, kept=Kept(begin())).fit(arm, r)
    assert asked == [0, 1, 1]                                       # the second network alone was trained again
    assert alike(resumed, fitting.fit(arm, r, validation))


def test_a_choice_by_the_clock_outlives_a_stop(begin):
    answers = iter([("bf16", {"fp32": 2.0}), ("fp32", {})])
    assert Kept(begin()).choice(recipe(), lambda: next(answers)) == ("bf16", {"fp32": 2.0})
    assert Kept(begin()).choice(recipe(), lambda: 1 / 0) == ("bf16", {"fp32": 2.0})
    assert Kept(begin("2")).choice(recipe(), lambda: next(answers)) == ("fp32", {})
