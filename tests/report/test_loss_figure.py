import pandas as pd

from lib.report import figures


def test_a_training_of_one_recorded_loss_shows_a_point():
    (_, line), = [figures.loss_curves({"cosine": pd.DataFrame({"images": [20], "loss": [0.9]})}).axes[0].lines]
    assert line.get_marker() == "o"
    (_, line), = [figures.loss_curves({"cosine": pd.DataFrame({"images": [20, 40], "loss": [0.9, 0.8]})}).axes[0].lines]
    assert line.get_marker() == "None"
