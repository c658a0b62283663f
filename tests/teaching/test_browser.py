"""What a person sees in a browser: JupyterLab's explorer, and a report with the network off."""
import os
import re
import shutil

import nbformat
import pytest
from lab import BROWSER, chromium, jupyterlab
from nbformat.v4 import new_code_cell, new_notebook

from lib import ROOT

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chrome, Chromium or Edge is installed")
DREAM = f"""\
from lib.diffusion import checkpoints
from lib.teaching import explorers

network, schedule, target = checkpoints.load_model({str(ROOT / "reports/published/digits/network.safetensors")!r})
given = network, schedule, target, network.classes, (1, 12, 12)
explorers.explore_sampling(*given)
"""
STEPS = DREAM.replace("explore_sampling", "explore_steps")
GUIDANCE = DREAM.replace("explore_sampling", "explore_guidance")
TRAINING = DREAM + """
import types
from lib import data

split = data.load("digits", canvas=12, per_class=50)
config = types.SimpleNamespace(
    batch=32, optimizer="adam", lr=2e-3, muon_lr=0.01, target="eps", loss_weight="simple", grad_clip=1.0, label_drop=0.1, ema_halflife_images=4400,
    flip=False, seed=0, T=1000, warmup_steps=100)
display(explorers.explore_retraining(network, split.train, config))
explorers.explore_denoising(network, schedule, target, split.validation)
"""
SIZES = {"desktop": (1280, 900), "phone": (390, 800)}


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


# ---------------------------------------------------------------- the report
@pytest.fixture(scope="module", params=[(colours, size) for colours in ("light", "dark") for size in SIZES], ids="-".join)
def page(request, browser, root, report):
    """The smoke plan's page, opened from its file without a network; .asked and .said: requests and console messages."""
    colours, size = request.param
    width, height = SIZES[size]
    context = browser.new_context(offline=True, color_scheme=colours, viewport={"width": width, "height": height})
    opened = context.new_page()
    opened.asked, opened.said = [], []
    opened.on("request", lambda r: opened.asked.append(r.url))
    opened.on("console", lambda message: opened.said.append(message.text))
    opened.on("pageerror", lambda error: opened.said.append(str(error)))
    opened.goto((root / "reports/build/smoke/report.html").as_uri())
    yield opened
    context.close()


def test_the_page_asks_for_nothing_and_says_nothing(page):
    assert [url for url in page.asked if not url.startswith("data:")] == [page.url] and page.said == []


def test_every_figure_is_there_and_has_its_words(page):
    figures = page.evaluate("""[
        ...[...document.images].map(i => i.complete && i.naturalWidth > 0 && i.alt.length > 9),
        ...[...document.querySelectorAll('[role=img]')].map(i => i.getBoundingClientRect().height > 50 && i.ariaLabel.length > 9)]""")
    assert len(figures) > 5 and all(figures)


def test_every_formula_of_a_runs_page_is_drawn(browser, root, report):
    page = browser.new_page()
    page.goto(next((root / "reports/build/smoke/schedules").glob("*/notebook.html")).as_uri())
    heights = page.evaluate("[...document.querySelectorAll('math')].filter(m => m.checkVisibility()).map(m => m.getBoundingClientRect().height)")
    page.close()
    assert len(heights) > 20 and min(heights) > 3


def test_the_page_does_not_scroll_sideways(page):
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_no_table_is_cut_on_paper(browser, root, report):
    page = browser.new_page(viewport={"width": 642, "height": 900})         # A4 less its margins: 170 mm
    page.emulate_media(media="print")
    page.goto((root / "reports/build/smoke/report.html").as_uri())
    cut = page.evaluate("[...document.querySelectorAll('.table')].filter(t => t.scrollWidth > t.clientWidth).map(t => t.innerText)")
    tables = page.locator(".table").count()
    page.close()
    assert tables > 5 and not cut


def test_the_colours_follow_the_reader(page):
    channels = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (sum(map(int, re.findall(r"\d+", channels)[:3])) < 200) == dark, channels


def test_axe_finds_nothing_serious(page):
    found = axe.Axe().run(page).response["violations"]
    serious = {v["id"]: [node["html"][:200] for node in v["nodes"][:3]] for v in found if v["impact"] in ("serious", "critical")}
    assert not serious


# ---------------------------------------------------------------- JupyterLab
@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on a copy of lib, the first notebooks and one for each of some explorers: (address, its folder)."""
    folder = tmp_path_factory.mktemp("lab")
    for name in ("lib", "notebooks", "reports/published"):                  # so that its runs are written there
        shutil.copytree(ROOT / name, folder / "root" / name)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    for name, code in {"dream": DREAM, "steps": STEPS, "guidance": GUIDANCE, "training": TRAINING}.items():
        nbformat.write(new_notebook(cells=[new_code_cell(code)], metadata=kernel), folder / f"root/{name}.ipynb")
    with jupyterlab(folder) as address:
        yield address, folder / "root"


def run_all(lab, browser, notebook, width=1280):
    """The page of a notebook in JupyterLab, after `Run All Cells` has shown its explorer's picture."""
    lab, page = lab[0], browser.new_context(viewport={"width": width, "height": 800}).new_page()
    page.goto(f"{lab}/lab/tree/{notebook}?reset&token=test")
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=120_000)      # before that `Run all` is lost
    page.wait_for_timeout(500)
    page.click('.lm-MenuBar-item:has-text("Run")')
    page.click('li[data-command="runmenu:run-all"]')
    page.locator(".widget-html img").first.wait_for(state="attached", timeout=240_000)
    return page


def screenshot(page, name):
    """Of the explorer, into the folder $DREAMING_SCREENSHOTS, for a person to look at."""
    if folder := os.environ.get("DREAMING_SCREENSHOTS"):
        page.locator(".widget-html img").last.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        page.screenshot(path=os.path.join(folder, f"{name}.png"))


def test_moving_a_slider_in_jupyterlab_draws_another_picture(lab, browser):
    page = run_all(lab, browser, "notebooks/10_schedules.ipynb")
    page.get_by_text(re.compile(r"^all \d+ sections have run$")).wait_for(timeout=60_000)   # at the page's top
    picture = page.locator(".widget-html img")
    before = picture.get_attribute("alt")
    begin = int(re.search(r"step (\d+) of 1000", before)[1])
    page.locator(".widget-slider .noUi-handle").last.focus()                                # t
    assert seen_whole(page) and nameless(page) == 0
    page.keyboard.press("ArrowRight")
    page.wait_for_function("a => document.querySelector('.widget-html img').alt !== a", arg=before, timeout=60_000)
    assert f"step {begin + 1} of 1000" in picture.get_attribute("alt")
    screenshot(page, "schedules")


def test_a_dream_in_jupyterlab_shows_its_images_forming_and_can_be_stopped(lab, browser):
    page = run_all(lab, browser, "dream.ipynb")
    picture, stop = page.locator(".widget-html img"), page.get_by_role("button", name="Stop")
    assert "press Dream" in picture.get_attribute("alt") and stop.is_disabled()
    page.get_by_role("button", name="Dream").click()
    page.get_by_text("done: 25 steps").wait_for(timeout=60_000)
    assert "after 25 of 25 steps, the last from t = 0" in picture.get_attribute("alt") and nameless(page) == 0
    screenshot(page, "sampling")
    page.get_by_label("steps").select_option("1000")
    page.get_by_text(re.compile(r"^\d+/1,000 steps, .* left$")).wait_for(timeout=60_000)     # it has begun by itself
    stop.click()
    line = page.get_by_text(re.compile(r"^stopped at \d+/1,000 steps"))
    line.wait_for(timeout=60_000)
    done = re.search(r"\d+", line.inner_text())[0]
    assert f"after {done} of 1000 steps" in picture.get_attribute("alt") and stop.is_disabled()
    assert seen_whole(page)
    screenshot(page, "stopped")


def nameless(page):
    """The number of sliders that a screen reader cannot name."""
    return page.locator(".widget-slider [role=slider]:not([aria-label])").count()


def seen_whole(page):
    """Whether an explorer's controls and its picture fit into a window of 1280 x 800."""
    box = page.locator(".jp-OutputArea-output .widget-vbox").last.bounding_box()
    return box["height"] <= 640                     # what JupyterLab leaves to a page


def cut_off(page):
    """The names and lines of controls that are not seen whole."""
    return page.evaluate("[...document.querySelectorAll('.widget-label, .widget-html-content')]"
                         ".filter(l => l.scrollWidth > l.clientWidth + 1).map(l => l.innerText)")


@pytest.mark.parametrize("width", [1280, 900])
def test_the_first_page_shows_images_and_switches_to_quick(lab, browser, width):
    page = run_all(lab, browser, "notebooks/00_start.ipynb", width)
    quick = page.get_by_label("quick")
    quick.wait_for(timeout=60_000)
    assert page.locator(".jp-OutputArea-output > img").count() == 2
    assert not quick.is_checked() and not cut_off(page)
    quick.check()
    page.get_by_text("It is on.").wait_for(timeout=60_000)
    assert (lab[1] / "reports/runs/interactive/quick").exists()
    screenshot(page, f"quick-{width}")
    quick.uncheck()
    page.get_by_text("It is off.").wait_for(timeout=60_000)
    assert not (lab[1] / "reports/runs/interactive/quick").exists()
    page.locator(".jp-OutputArea-output > img").first.scroll_into_view_if_needed()
    if folder := os.environ.get("DREAMING_SCREENSHOTS"):
        page.screenshot(path=os.path.join(folder, f"start-{width}.png"))


@pytest.mark.parametrize("width", [1280, 900])
def test_one_image_is_followed_step_by_step_in_jupyterlab(lab, browser, width):
    page = run_all(lab, browser, "steps.ipynb", width)
    page.get_by_role("button", name="Walk").click()
    page.get_by_text("done: 25 steps").wait_for(timeout=60_000)
    page.get_by_text("Step 25 of 25").wait_for(timeout=60_000)
    page.locator(".widget-slider .noUi-handle").last.focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    page.get_by_text("Step 17 of 25").wait_for(timeout=60_000)
    assert page.locator(".widget-html figure").count() == 5 and not cut_off(page)
    screenshot(page, f"steps-{width}")


@pytest.mark.parametrize("width", [1280, 900])
def test_guidance_is_compared_in_jupyterlab(lab, browser, width):
    page = run_all(lab, browser, "guidance.ipynb", width)
    assert "the same noise" in page.locator(".widget-html img").get_attribute("alt")
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("done: 125 steps").wait_for(timeout=60_000)
    assert "guidance 8, step 25 of 25" in page.locator(".widget-html img").get_attribute("alt") and not cut_off(page)
    screenshot(page, f"guidance-{width}")


def test_two_schedules_are_trained_and_the_clip_is_switched_in_jupyterlab(lab, browser):
    page = run_all(lab, browser, "training.ipynb", 900)
    page.get_by_text(re.compile("^t = 500 of 1000")).wait_for(timeout=60_000)               # the second explorer is there
    losses, guess = page.locator(".widget-html img").first, page.locator(".widget-html img").last
    assert "not trained yet" in losses.get_attribute("alt") and not cut_off(page)
    page.locator(".widget-slider .noUi-handle").last.focus()                                # t
    page.keyboard.press("End")
    page.get_by_text(re.compile("^t = 999 of 1000.*clip$")).wait_for(timeout=60_000)
    page.get_by_label("limit").select_option("none")
    page.get_by_text(re.compile("^t = 999 of 1000.*times$")).wait_for(timeout=60_000)
    assert "t = 999" in guess.get_attribute("alt")
    screenshot(page, "clip-none-900")
    page.get_by_label("steps each").select_option("100")
    page.get_by_role("button", name="Train both").click()
    page.get_by_text("done: 200 steps").wait_for(timeout=200_000)
    assert "after 100 steps" in losses.get_attribute("alt") and not cut_off(page)
    losses.scroll_into_view_if_needed()
    screenshot(page, "trained-900")
