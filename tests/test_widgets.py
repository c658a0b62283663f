import base64
import re

import ipywidgets
import pytest
import torch

from lib import data, figures, widgets
from lib.schedules import SCHEDULES

IMAGES = torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8)


@pytest.fixture
def shown(monkeypatch):
    """What the explorer has drawn: (alt text, PNG bytes) each time."""
    drawn = []
    monkeypatch.setattr(widgets.Picture, "show", lambda self, png, alt: drawn.append((alt, png)))
    return drawn


def explorer():
    """The explorer's widget and its controls: schedule, T, s, t."""
    panel = widgets.explore_schedules(IMAGES)
    name, sliders, t, _ = panel.children
    return panel, name, *sliders.children, t


def test_the_picture_stands_in_the_panel_with_its_alt_text():
    picture = explorer()[0].children[-1]
    data, alt = re.search(r'src="data:image/png;base64,(.*?)"', picture.value)[1], re.search(r'alt="(.*?)"', picture.value)[1]
    assert base64.b64decode(data).startswith(b"\x89PNG") and "step 500 of 1000" in alt


def test_no_explorer_holds_an_output_widget_which_can_hang_a_notebook_run():
    def kinds(widget):
        return {type(widget)}.union(*map(kinds, getattr(widget, "children", ())))
    assert ipywidgets.Output not in kinds(explorer()[0])


@pytest.mark.parametrize("name", SCHEDULES)
def test_choosing_any_schedule_draws_it(shown, name):
    panel, schedule, *_ = explorer()
    assert isinstance(panel, ipywidgets.VBox) and "step 500 of 1000" in shown[0][0]
    schedule.value = name
    assert f"The {name} schedule at step 500 of 1000" in shown[-1][0]


def test_moving_any_control_draws_another_picture_once(shown):
    _, name, T, s, t = explorer()
    name.value = "cosine"
    t.value = 0
    s.value = 0.05
    T.value = 50
    t.value = 49
    assert len({png for _, png in shown}) == len(shown) == 6
    assert "step 49 of 50" in shown[-1][0] and "noise gain 31.6" in shown[-1][0]


def test_another_T_keeps_the_share_of_the_way(shown):
    _, _, T, _, t = explorer()
    t.value = 999
    for value, last in ((50, 49), (4000, 3999), (10, 9), (1000, 999)):
        T.value = value
        assert (t.value, t.max) == (last, last) and f"step {last} of {value}" in shown[-1][0]


def test_the_offset_s_is_for_cosine_only(shown):
    _, name, _, s, _ = explorer()
    assert s.disabled
    name.value = "cosine"
    assert not s.disabled
    name.value = "sigmoid"
    assert s.disabled


def test_what_moves_leaves_no_trace_in_the_next_picture():
    moved, fresh = widgets.SchedulePanel(IMAGES), widgets.SchedulePanel(IMAGES)
    for place in (("linear", 1000, 999), ("cosine", 50, 3, 0.1), ("sigmoid", 4000, 17), ("cosine", 100, 60)):
        moved.draw(*place)
        last = moved.png()
    fresh.draw("cosine", 100, 60)
    assert last == fresh.png() and moved.alt == fresh.alt


def test_the_saved_figure_holds_what_the_explorer_shows():
    panel = widgets.SchedulePanel(IMAGES)
    pictures = {figures.to_png(panel.draw("cosine", 1000, t)) for t in (10, 500, 999)}
    assert len(pictures) == 3


def test_each_schedule_has_a_colour_of_its_own():
    colours = figures.colours(list(SCHEDULES))
    assert len(set(colours.values())) == len(SCHEDULES)
    assert colours["linear"] == figures.COLOURS["linear"] and colours["cosine"] == figures.COLOURS["cosine"]


def test_noised_images_at_the_first_step_are_nearly_the_images():
    from lib.schedules import make_schedule
    images = data.load("digits").train.images[:4]
    noised = widgets.noised(make_schedule("cosine", 1000), images, 0, torch.zeros(images.shape))
    assert (noised.int() - images.int()).abs().max() <= 1
