import ipywidgets
import pytest
import torch

from lib import data, figures, widgets
from lib.schedules import SCHEDULES


@pytest.fixture
def shown(monkeypatch):
    """The alt texts of the figures that the explorer has drawn."""
    texts = []
    monkeypatch.setattr(figures, "show_png", lambda png, alt, caption="": texts.append(alt))
    return texts


def controls(widget):
    return widget.children[0].children


@pytest.mark.parametrize("name", SCHEDULES)
def test_choosing_any_schedule_draws_it(shown, name):
    panel = widgets.explore_schedules(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    assert isinstance(panel, ipywidgets.VBox) and "step 500 of 1000" in shown[0]
    controls(panel)[0].value = name
    assert f"The {name} schedule at step 500 of 1000" in shown[-1]


def test_moving_t_and_T_draws_another_step(shown):
    panel = widgets.explore_schedules(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    controls(panel)[2].value = 1.0
    assert "step 999 of 1000" in shown[-1]
    controls(panel)[1].value = 50
    assert "step 49 of 50" in shown[-1]


def test_each_schedule_has_a_colour_of_its_own():
    colours = figures.colours(list(SCHEDULES))
    assert len(set(colours.values())) == len(SCHEDULES)
    assert colours["linear"] == figures.COLOURS["linear"] and colours["cosine"] == figures.COLOURS["cosine"]


def test_noised_images_at_the_first_step_are_nearly_the_images():
    from lib.schedules import make_schedule
    images = data.load("digits").train.images[:4]
    noised = widgets.noised(make_schedule("cosine", 1000), images, 0, torch.zeros(images.shape))
    assert (noised.int() - images.int()).abs().max() <= 1
