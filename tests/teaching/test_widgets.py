"""The panel of a schedule."""
import ipywidgets
import torch

from lib import data
from lib.diffusion.schedules import SCHEDULES, make_schedule
from lib.report import figures
from lib.teaching import widgets

IMAGES = torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8)


def test_what_moves_leaves_no_trace_in_the_next_picture():
    moved, fresh = widgets.SchedulePanel(IMAGES), widgets.SchedulePanel(IMAGES)
    for place in (("linear", 1000, 999), ("cosine", 50, 3, 0.1), ("sigmoid", 4000, 17)):
        moved.draw(*place)
    assert moved.draw("cosine", 100, 60) == fresh.draw("cosine", 100, 60) != fresh.draw("cosine", 100, 61)


def test_each_schedule_has_a_colour_of_its_own():
    colours = figures.colours(list(SCHEDULES))
    assert len(set(colours.values())) == len(SCHEDULES)
    assert colours["linear"] == figures.COLOURS["linear"] and colours["cosine"] == figures.COLOURS["cosine"]


def test_noised_images_at_the_first_step_are_nearly_the_images():
    images = data.load("digits").train.images[:4]
    noised = widgets.noised(make_schedule("cosine", 1000), images, 0, torch.zeros(images.shape))
    assert (noised.int() - images.int()).abs().max() <= 1


def test_a_switch_switches_and_says_so():
    state = []

    def turn(on=None):
        state[:] = state if on is None else ["on"] if on else []
        return bool(state)
    box, line = (panel := widgets.switch("quick", turn)).children
    assert not box.value and line.value == "It is off." and len(panel.children) == 2
    box.value = True
    assert state == ["on"] and line.value == "It is on."
    box.value = False
    assert state == [] and line.value == "It is off."


def test_names_of_controls_are_never_cut_off():
    slider = ipywidgets.IntSlider(description="a name that is longer than eighty pixels")
    assert slider in widgets.row(slider).children and slider.style.description_width == "initial"
