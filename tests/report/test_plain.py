"""The first screen of the plain report: the answer of each study."""
import dataclasses

import numpy as np
from made_up import study, training

from lib.report import plain, tables
from lib.report.collected import Collected, Step, in_turn
from lib.report.results import number

LABELS = np.repeat([0, 1, 2], [100, 40, 8])


def test_a_study_of_the_setting_that_another_one_chose_is_no_second_evidence():
    source = Step("train/a", {"dataset": "folder"}, training("images of a folder", ("a", "b")))
    result = study("MLP", {"real": 80.0, "real + synthetic": 82.0}, ("a", "b"), generator="reports/runs/p/generate/good")
    both, good, other = (Step(f"augment/{name}", {"widths": [w], "generate_runs": runs}, result, source) for name, w, runs in (
        ("both", 8, ["good", "bad"]), ("good", 8, ["good"]), ("other", 9, ["good"])))
    assert plain.best_first(Collected((source, both, good, other))) == [both, other]


def test_the_answer_names_the_worst_class_and_what_balancing_adds(monkeypatch):
    rng, classes = np.random.default_rng(4), ("cat", "dog", "rare")
    truth = np.broadcast_to(LABELS, (5, 1, 1, len(LABELS)))
    predictions = {arm: np.where(rng.random(truth.shape) < np.array(recall)[LABELS], truth, (truth + 1) % 3) for arm, recall in
                   {"real": (0.9, 0.8, 0.0), "real, balanced": (0.9, 0.8, 0.5), "real + synthetic": (0.9, 0.8, 0.3)}.items()}
    shown = study(arms={"real": 80.0, "real, balanced": 83.0, "real + synthetic": 82.0}, classes=classes, rival="real, balanced")
    learned = dataclasses.replace(training("images of a folder", classes), class_counts=(60, 30, 3))
    source = Step("train/a", {"dataset": "folder"}, learned)
    step = Step("augment/mlp", {"lrs": [1]}, shown, source)
    monkeypatch.setattr(Step, "predictions", (LABELS, predictions))
    assert tables.balanced(study(arms={"real": 80.0, "real + synthetic": 82.0, "real, balanced + shift + synthetic": 90.0}, classes=classes)) == ""
    rows = tables.answer(step)
    recall = 100 * (predictions["real + synthetic"] == truth)[..., LABELS == 2].mean()
    assert f"rare: 0.0 and {number(recall)}" in rows.values()
    macro = {arm: np.mean([100 * (p == truth)[..., LABELS == k].mean() for k in range(3)]) for arm, p in predictions.items()}
    assert rows["macro recall: balancing adds, at equal updates"].startswith(number(macro["real, balanced"] - macro["real"], signed=True))
    assert list(tables.recalls(step)["test images"]) == ["100", "40", "8"]
    better = Step("augment/cnn", {"lrs": [1]}, study("CNN", {"real": 90.0, "real + synthetic": 91.0}, classes), source)
    page = plain.answer(Collected((source, step, better)))
    assert list(page[-1].columns) == ["", "CNN", "MLP"]                              # the best classifier first


def test_a_sheet_keeps_the_place_of_a_class_without_images():
    images = np.arange(1, 5, dtype=np.uint8)[:, None, None, None]
    sheet = in_turn(images, [2, 0, 2, 0], classes=3, number=7)
    assert sheet.flatten().tolist() == [2, 0, 1, 4, 0, 3, 2]
