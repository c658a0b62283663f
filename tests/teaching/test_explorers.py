"""What moves when a control of an explorer is moved, and that long work can be stopped."""
import asyncio
import base64
import itertools
import re
import types

import ipywidgets
import numpy as np
import pytest
import torch

from lib.data.images import Images, to_float, to_uint8
from lib.diffusion import samplers
from lib.diffusion.checkpoints import save_model
from lib.diffusion.samplers import ImageNoise, sample, sample_steps, timesteps
from lib.diffusion.schedules import SCHEDULES, make_schedule
from lib.diffusion.unet import UNet
from lib.report import figures, runs
from lib.study import fitting, theory
from lib.teaching import explorers, widgets

IMAGES = torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8)
CLASSES = ("cat", "dog")
SCHEDULE = make_schedule("cosine", 50)


@pytest.fixture
def shown(monkeypatch):
    """What the explorer has drawn: (alt text, PNG bytes) each time."""
    drawn = []
    show = widgets.Picture.show
    monkeypatch.setattr(widgets.Picture, "show", lambda self, png, alt, **scale: (drawn.append((alt, png)), show(self, png, alt, **scale)))
    return drawn


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = UNet(image_channels=1, image_size=8, num_classes=2, channels=8, channel_mult=(1,), num_res_blocks=1, attn_resolutions=())
    for parameter in model.parameters():        # some begin at 0: it would answer the same to everything
        torch.nn.init.normal_(parameter, std=0.3)
    model.trained, model.classes = (SCHEDULE, "v"), CLASSES
    return model.eval()


def below(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from below(child)


def control(box, description):
    return next(w for w in below(box) if getattr(w, "description", None) == description)


def only(box, kind):
    (found,) = [w for w in below(box) if isinstance(w, kind)]
    return found


# ---------------------------------------------------------------- schedules
def test_the_picture_stands_in_the_panel_with_its_alt_text():
    picture = only(explorers.explore_schedules(IMAGES), widgets.Picture)
    png, alt = re.search(r'src="data:image/png;base64,(.*?)"', picture.value)[1], re.search(r'alt="(.*?)"', picture.value)[1]
    assert base64.b64decode(png).startswith(b"\x89PNG") and re.search(r"linear schedule at step \d+ of 1000", alt)


@pytest.mark.parametrize("name", SCHEDULES)
def test_choosing_any_schedule_draws_it(shown, name):
    panel = explorers.explore_schedules(IMAGES)
    assert isinstance(panel, ipywidgets.VBox)
    (begin,) = re.findall(r"The linear schedule (at step \d+ of 1000)", shown[0][0])
    control(panel, "schedule").value = name
    assert f"The {name} schedule {begin}" in shown[-1][0]


def test_moving_any_control_draws_another_picture_once(shown):
    panel = explorers.explore_schedules(IMAGES)
    for name, value in (("schedule", "cosine"), ("t", 0), ("s (cosine)", 0.05), ("T", 50), ("t", 49)):
        control(panel, name).value = value
    assert len({png for _, png in shown}) == len(shown) == 6
    assert "step 49 of 50" in shown[-1][0] and "noise gain 31.6" in shown[-1][0]


def test_another_T_keeps_the_share_of_the_way(shown):
    panel = explorers.explore_schedules(IMAGES)
    t = control(panel, "t")
    t.value = 999
    for value, last in ((50, 49), (4000, 3999), (10, 9), (1000, 999)):
        control(panel, "T").value = value
        assert (t.value, t.max) == (last, last) and f"step {last} of {value}" in shown[-1][0]


def test_the_offset_s_is_for_cosine_only():
    panel = explorers.explore_schedules(IMAGES)
    for name, for_it in (("linear", False), ("cosine", True), ("sigmoid", False)):
        control(panel, "schedule").value = name
        assert control(panel, "s (cosine)").disabled is not for_it


# ---------------------------------------------------------------- denoising
def test_the_estimate_is_what_the_answer_of_the_network_means(network):
    """A network that knows the noise is asked: its estimate is the image."""
    eps = torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(3))

    class Oracle(torch.nn.Linear):
        def forward(self, x, t, y):
            return eps
    noisy, estimate = explorers.estimates(Oracle(1, 1), SCHEDULE, "eps", IMAGES, torch.tensor([0, 1]), 30, seed=3)
    ac = SCHEDULE.alphas_cumprod[30]
    assert torch.allclose(noisy, (ac.sqrt() * to_float(IMAGES) + (1 - ac).sqrt() * eps).float(), atol=1e-6)
    assert torch.allclose(estimate, to_float(IMAGES), atol=1e-5)


def test_without_a_clip_the_estimate_near_pure_noise_is_the_error_alone(shown, network):
    box = explorers.explore_denoising(network, SCHEDULE, "eps", Images(IMAGES, torch.tensor([0, 1]), CLASSES))
    control(box, "t").value = 49
    assert control(box, "limit").value == "clip"
    words = pages(box)
    control(box, "limit").value = "none"
    factor = (1 / SCHEDULE.alphas_cumprod[49].item() - 1)**0.5
    clipped, free = (float(re.search(r"estimate (\S+);", said)[1]) for said in (words, pages(box)))
    assert clipped <= 4 < 100 < free
    assert f"in it an error of eps counts {factor:,.0f} times, before the clip" in words and pages(box).endswith("times")


def test_t_and_what_the_network_is_told_change_the_estimate(shown, network):
    box = explorers.explore_denoising(network, SCHEDULE, "v", Images(IMAGES, torch.tensor([0, 1]), CLASSES))
    assert control(box, "told").options == ("its own class", "nothing", "cat", "dog")
    for name, value in (("t", 10), ("t", 40), ("told", "nothing"), ("told", "cat"), ("told", "dog")):
        control(box, name).value = value
    assert len({png for _, png in shown}) == len(shown) == 6
    assert "t = 40 of 50, told dog: mean squared error of the estimate" in shown[-1][0]


def test_two_schedules_are_trained_from_the_same_weights_and_shown_beside_each_other(shown, network, monkeypatch):
    sheets, trained, train = [], [], explorers.train_ddpm
    monkeypatch.setattr(explorers.figures, "losses_beside_images", lambda histories, rows, _: sheets.append((dict(histories), dict(rows))))
    monkeypatch.setattr(explorers, "sheet_png", lambda figure: b"")

    def noted(model, schedule, *args, **options):
        trained.append((schedule.name, next(model.parameters()).clone(), options["steps"], options["warmup_steps"], options["optimizer"]))
        return train(model, schedule, *args, **options)
    monkeypatch.setattr(explorers, "train_ddpm", noted)
    config = types.SimpleNamespace(batch=4, optimizer="muon", lr=1e-3, muon_lr=0.01, target="v", loss_weight="simple", grad_clip=1.0, label_drop=0.1, T=20,
                                   ema_halflife_images=100, flip=False, seed=0, warmup_steps=50)

    async def use():
        box = explorers.explore_retraining(network, Images(IMAGES, torch.tensor([0, 1]), CLASSES), config)
        assert not sheets[0][0] and "not trained yet" in shown[0][0]
        control(box, "steps each").value = 100
        work = only(box, widgets.Work)
        control(box, "Train both").click()
        await work.task
        assert work.line.value == "done: 200 steps"
    asyncio.run(use())
    (one, first, *rest), (two, second, *_) = trained
    assert (one, two) == ("linear", "cosine") and torch.equal(first, second) and rest == [100, 20, "muon"]
    histories, rows = sheets[-1]
    assert [len(h) for h in histories.values()] == [5, 5] and not torch.equal(rows["linear"], rows["cosine"])


# ---------------------------------------------------------------- sampling
def sampling(network):
    return explorers.explore_sampling(network, SCHEDULE, "v", CLASSES, (1, 8, 8))


def test_no_work_begins_by_itself(shown, network):
    box = sampling(network)
    assert only(box, widgets.Work).task is None and len(shown) == 1


def test_dreaming_ends_with_the_images_of_the_sampler_and_keeps_those_before(shown, network, monkeypatch):
    drawn = []
    monkeypatch.setattr(explorers.figures, "image_grid", lambda rows, names, *_: drawn.append((names, rows)))
    monkeypatch.setattr(explorers, "sheet_png", lambda figure: b"")

    async def use():
        box = sampling(network)
        work = only(box, widgets.Work)
        control(box, "Dream").click()
        await work.task
        control(box, "sampler").value = "ddim"                  # starts by itself
        await work.task
        control(box, "guidance").value = 5.0
        await work.task
        assert work.line.value == "done: 25 steps" and work.stop_button.disabled
    asyncio.run(use())
    y = torch.arange(2)
    options = {"target": "v", "steps": 25}
    first, second, last = (to_uint8(sample(network, SCHEDULE, y, ImageNoise(0, range(2), (1, 8, 8)), **options, **more)) for more in (
        {"guidance": 2.0}, {"guidance": 2.0, "sampler": "ddim"}, {"guidance": 5.0, "sampler": "ddim"}))
    names, rows = drawn[-1]
    assert names == ["now", "estimate", "before"] and torch.equal(rows[0], last) and torch.equal(rows[2], second)
    assert any(torch.equal(rows[0], first) for _, rows in drawn) and not torch.equal(first, second)


def test_eta_is_for_ddim_only(network):
    async def use():
        box = sampling(network)
        control(box, "sampler").value = "ddim"
        assert not control(box, "eta (ddim)").disabled
        control(box, "eta (ddim)").value = 0.5
        control(box, "sampler").value = "heun"
        assert control(box, "eta (ddim)").disabled
        work = only(box, widgets.Work)
        await work.task
        assert work.line.value == "done: 25 steps"              # ddim's eta is not given to heun
    asyncio.run(use())


def test_the_numbers_beside_a_step_keep_signal_and_noise_of_the_schedule(network):
    """x_t = a x0 + b eps put into c x0 + d x_t + e z must have the signal and the variance of x_s."""
    noise, times = ImageNoise(0, [0], (1, 8, 8)), timesteps(SCHEDULE, 5)
    x, walk = ImageNoise(0, [0], (1, 8, 8))(), sample_steps(network, SCHEDULE, torch.tensor([1]), noise, target="v", steps=5)
    for s, (t, after, x0) in zip([*times[1:], -1], walk, strict=True):
        images, told = explorers.one_step(SCHEDULE, "ancestral", t, s, x, x0, after)
        (a, b), (c, d, e) = ([float(n) for n in re.findall(r"\d+\.\d{3}", line)] for line in told.split("<br>")[1:])
        ac = SCHEDULE.alphas_cumprod[s].item() if s >= 0 else 1
        assert (c + d * a, (d * b)**2 + e**2) == pytest.approx((ac**0.5, 1 - ac), abs=3e-3)
        assert list(images)[0] == f"x at t = {t}" and torch.equal(images["estimate of the image"], to_uint8(x0)[0])
        x = after
    assert (c, d, e) == (1, 0, 0) and torch.equal(images["the image"], images["estimate of the image"])


def test_a_step_of_ddim_is_the_estimate_and_the_same_noise_with_less_of_it(network):
    noise, times = ImageNoise(0, [0], (1, 8, 8)), timesteps(SCHEDULE, 5)
    walk = sample_steps(network, SCHEDULE, torch.tensor([1]), noise, target="v", steps=5, sampler="ddim")
    x = ImageNoise(0, [0], (1, 8, 8))()
    for s, (t, after, x0) in zip([*times[1:], -1], walk, strict=True):
        images, told = explorers.one_step(SCHEDULE, "ddim", t, s, x, x0, after)
        (a, b), (c, d) = ([float(n) for n in re.findall(r"\d+\.\d{3}", line)] for line in told.split("<br>")[1:])
        torch.testing.assert_close(after, c * x0 + d * (x - a * x0) / b, atol=0.02, rtol=0)
        assert "fresh noise" not in images
        x = after


def test_a_walk_can_be_stopped_and_gone_through(network):
    async def use():
        box = explorers.explore_steps(network, SCHEDULE, "v", CLASSES, (1, 8, 8))
        place, work, pictures = control(box, "step"), only(box, widgets.Work), only(box, widgets.Row)
        assert (place.value, place.max) == (1, 1) and "<b>Step 1 of 25</b>, t = 49" in pages(box)
        assert pictures.value.count("<img") == 5
        work.start()
        while place.value < 4:
            await asyncio.sleep(0.001)
        work.stop()
        await work.task
        stopped = place.value
        assert work.line.value.startswith(f"stopped at {stopped}/25") and f"Step {stopped} of 25" in pages(box)
        place.value = 2
        assert "Step 2 of 25" in pages(box)
        work.start()
        await work.task
        assert (place.value, place.max) == (25, 25) and "the image = 1.000" in pages(box)
        control(box, "class").value = 1                             # another walk: its first step is there at once
        assert (place.value, place.max) == (1, 1) and "Step 1 of 25" in pages(box)
    asyncio.run(use())


def test_one_pixel_walks_to_the_data_by_every_sampler(shown):
    box = explorers.explore_walks(SCHEDULE)
    control(box, "steps").value = 5
    control(box, "spacing").value = "log-snr"
    assert len({png for _, png in shown}) == len(shown) == 3 and "in 5 steps" in shown[-1][0]
    for name in samplers.SAMPLERS:
        times, path = explorers.walks(SCHEDULE, name, 50, "log-snr", theory.best_estimate, 300)
        assert path.shape == (len(times), 300) and path[0].std() == pytest.approx(1, abs=0.1)
        assert (path[-1].abs() - 1).abs().quantile(0.95) < 0.02 and 0.4 < (path[-1] > 0).double().mean() < 0.6, name


def pages(box):
    return next(w.value for w in below(box) if type(w) is ipywidgets.HTML)


def test_guidance_is_compared_from_the_same_noise(shown, network, monkeypatch):
    drawn = []
    monkeypatch.setattr(explorers.figures, "image_grid", lambda rows, names, *_: drawn.append((names, rows)))
    monkeypatch.setattr(explorers, "sheet_png", lambda figure: b"")

    async def use():
        box = explorers.explore_guidance(network, SCHEDULE, "v", CLASSES, (1, 8, 8), steps=5)
        assert all(torch.equal(row, drawn[0][1][0]) for row in drawn[0][1])
        control(box, "Compare").click()
        await only(box, widgets.Work).task
    asyncio.run(use())
    names, rows = drawn[-1]
    assert names == [f"guidance {g}" for g in (0, 1, 2, 4, 8)]
    for g, row in zip((0, 1, 2, 4, 8), rows, strict=True):
        alone = sample(network, SCHEDULE, torch.arange(2), ImageNoise(0, range(2), (1, 8, 8)), target="v", steps=5, guidance=g,
                       x0_handling="clip")
        assert torch.equal(row, to_uint8(alone))


def test_images_form_in_one_output_whose_last_frame_is_the_sampler_s(network, monkeypatch):
    frames, rows = [], []
    monkeypatch.setattr(widgets.Film, "show", lambda self, png, alt: frames.append(alt))
    monkeypatch.setattr(explorers.figures, "image_grid", lambda sheet, **_: rows.append(sheet))
    monkeypatch.setattr(explorers, "sheet_png", lambda figure: b"")
    explorers.watch_images_form(network, SCHEDULE, "v", steps=4)
    last = sample(network, SCHEDULE, torch.tensor([0, 1, 0, 1]), ImageNoise(0, range(4), (1, 8, 8)), target="v", steps=4, guidance=2.0,
                  x0_handling="clip")
    assert len(frames) == 4 and torch.equal(rows[-1].flatten(0, 1), to_uint8(last))
    assert frames[0].startswith("Images half way") and frames[-1].startswith("Synthetic images")


# ---------------------------------------------------------------- work
def counted(total, seen):
    """Work that notes each record that it was asked for."""
    def begin():
        def records():
            for done in range(1, total + 1):
                seen.append(done)
                yield {"done": done}
        return records(), total, "steps"
    return widgets.Work(begin)


def test_stop_ends_the_work_and_tells_how_far_it_was():
    seen = []

    async def use():
        work = counted(10_000, seen)
        work.start_button.click()
        assert not work.stop_button.disabled or not seen
        while len(seen) < 5:
            await asyncio.sleep(0.001)
        work.stop_button.click()
        await work.task
        assert re.fullmatch(r"stopped at \d+/10,000 steps: what was made stays", work.line.value) and work.stop_button.disabled
        count = len(seen)
        await asyncio.sleep(0.05)
        assert len(seen) == count < 10_000
    asyncio.run(use())


def test_stop_shows_the_step_that_it_names(shown, network):
    async def use():
        box = explorers.explore_sampling(network, SCHEDULE, "v", CLASSES, (1, 8, 8))
        work = only(box, widgets.Work)
        control(box, "steps").value = 50
        while not (work.line.value or "0").split("/")[0].isdigit() or not len(shown) > 1:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        work.stop_button.click()
        await work.task
        done = re.match(r"stopped at (\d+)/50|done: (50)", work.line.value)
        assert f"after {done[1] or done[2]} of 50 steps" in shown[-1][0]
    asyncio.run(use())


def test_stop_at_the_end_is_an_end():
    async def use():
        seen = []
        work = counted(3, seen)
        work.start()
        while len(seen) < 3:
            await asyncio.sleep(0)
        work.stop()
        await work.task
        assert work.line.value == "done: 3 steps"
    asyncio.run(use())


def test_frames_that_come_fast_are_left_out_but_for_the_last():
    drawn = []
    now = widgets.Now(100, drawn.append)
    for frame in range(5):
        now(frame)
    assert drawn == [0]
    now.last()
    now.last()
    assert drawn == [0, 4]


@pytest.mark.parametrize("names", [["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"], list("0123456789")])
def test_names_of_columns_do_not_run_into_each_other(names, monkeypatch):
    monkeypatch.setattr(explorers.figures, "to_png", lambda figure: (figure.canvas.draw(), figure)[1])
    figure = explorers.sheet_png(figures.image_grid(np.zeros((2, 10, 3, 32, 32), np.uint8), ["now", "before"], names))
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) == 10 and not [one for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]


def test_a_new_start_ends_what_runs():
    seen = []

    async def use():
        work = counted(40, seen)
        work.start()
        while len(seen) < 20:
            await asyncio.sleep(0.001)
        first = work.task
        work.start()
        await asyncio.gather(first, work.task)
        assert work.line.value == "done: 40 steps"
    asyncio.run(use())
    assert seen.count(40) == 1 and seen.count(20) == 2


@pytest.mark.parametrize("where", ["begin", "records"])
def test_work_that_fails_says_why(where):
    def fail():
        raise ValueError("lr=-1: expected more than 0")
        yield

    async def use():
        work = widgets.Work((lambda: next(fail())) if where == "begin" else (lambda: (fail(), 3, "steps")))
        work.start()
        await work.task
        assert work.line.value == "failed: lr=-1: expected more than 0" and work.stop_button.disabled
    asyncio.run(use())


# ---------------------------------------------------------------- studies
def test_two_arms_are_compared_and_old_numbers_never_stand_beside_a_new_choice(shown, monkeypatch):
    labels = np.array([0, 0, 1, 1])
    predictions = {"real": labels[None, None], "real + synthetic": np.array([[[0, 1, 1, 1]]]), "shuffled": np.array([[[1, 1, 0, 0]]])}
    box = explorers.explore_arms(predictions, labels, CLASSES)
    line = only(box, ipywidgets.Label)
    assert line.value == "Test accuracy: real 100.0 %, real + synthetic 75.0 %, -25.0 points"
    changed, hidden = explorers.outcomes.changed_cells, []
    monkeypatch.setattr(explorers.outcomes, "changed_cells", lambda *args: (
        hidden.append((only(box, widgets.Picture).layout.visibility, line.value)), changed(*args))[1])
    control(box, "from").value = "shuffled"
    assert hidden == [("hidden", "computing ...")] and only(box, widgets.Picture).layout.visibility == "visible"
    assert line.value == "Test accuracy: shuffled 0.0 %, real + synthetic 75.0 %, +75.0 points" and len(shown) == 2


def test_a_mix_is_trained_as_chosen_and_its_curve_stays(shown, monkeypatch):
    g = torch.Generator().manual_seed(0)
    train, synthetic, validation = (Images(torch.randint(0, 256, (20, 1, 4, 4), generator=g).to(torch.uint8), torch.arange(20) % 2, CLASSES)
                                    for _ in range(3))
    recipe = fitting.Recipe("mlp", [4], 20, 10, 1e-3, 0.0, "adamw", 0.5, 2, 0, torch.device("cpu"))
    given, begin = [], fitting.begin
    monkeypatch.setattr(fitting, "begin", lambda images, extra, recipe: (
        given.append((len(images[0]), len(extra[0]) if extra else 0, recipe.synthetic_fraction)), begin(images, extra, recipe))[1])

    async def use():
        box = explorers.explore_mixes(train, synthetic, validation, recipe)
        work = only(box, widgets.Work)
        for name, value in (("batch share", 0.25), ("real images", 0.5), ("batch share", 1.0), ("for each real", 0.0)):
            control(box, name).value = value
            control(box, "Train").click()
            await work.task
            assert work.line.value == "done: 20 steps"
    asyncio.run(use())
    assert given == [(20, 20, 0.25), (10, 20, 0.25), (20, 0, 1.0), (10, 0, 1.0)]
    for name in ("20 real + 20 synthetic (25% of a batch)", "10 real + 20 synthetic (25% of a batch)", "20 synthetic", "10 real"):
        assert re.search(re.escape(name) + r": \d+\.\d %", shown[-1][0]), shown[-1][0]


def test_a_class_of_every_run_is_shown(shown, network, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    made = []
    for name, size in (("one", 8), ("two", 8), ("other-size", 4)):
        run = runs.Run(tmp_path / name)
        run.folder.mkdir()
        runs.write_json(run.path("config.json"), {"train_run": "reports/runs/plan/train/one"})
        run.save_arrays("images.npz", images=np.full((4, 1, size, size), 9, np.uint8), labels=np.arange(4) % 2)
        made.append(run)
    trained = tmp_path / "reports/runs/plan/train/one"
    trained.mkdir(parents=True)
    save_model(trained / "model.safetensors", network)
    box = explorers.explore_runs(made)
    assert control(box, "class").options == (("cat", 0), ("dog", 1))
    control(box, "class").value = 1
    assert "class dog" in shown[-1][0] and len(shown) == 2
    assert "no run" in explorers.explore_runs([]).value


# ---------------------------------------------------------------- all
def test_no_explorer_holds_an_output_widget_which_can_hang_a_notebook_run(network):
    labels = np.array([0, 1])
    boxes = [explorers.explore_schedules(IMAGES), sampling(network),
             explorers.explore_steps(network, SCHEDULE, "v", CLASSES, (1, 8, 8)),
             explorers.explore_guidance(network, SCHEDULE, "v", CLASSES, (1, 8, 8)),
             explorers.explore_denoising(network, SCHEDULE, "v", Images(IMAGES, torch.tensor([0, 1]), CLASSES)),
             explorers.explore_arms({"real": labels[None, None], "real + synthetic": labels[None, None]}, labels, CLASSES)]
    assert not [w for box in boxes for w in below(box) if isinstance(w, ipywidgets.Output)]
