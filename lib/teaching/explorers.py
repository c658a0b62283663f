"""Explorers for JupyterLab, one for each notebook: controls over the functions and figures that it uses."""
import dataclasses
import time

import ipywidgets
import numpy as np
import torch

from lib.data.images import to_float, to_uint8
from lib.diffusion import samplers
from lib.diffusion.checkpoints import load_model
from lib.diffusion.process import predict_x0, q_sample
from lib.diffusion.schedules import SCHEDULES
from lib.report import figures, runs
from lib.study import arms as study
from lib.study import outcomes
from lib.teaching.widgets import Picture, SchedulePanel, Work


# ---------------------------------------------------------------- notebook 10
def explore_schedules(images, T=1000, seed=0):
    """Choose schedule, T, cosine's s and t; see the noised images and where on the curves they are."""
    panel, picture = SchedulePanel(images, seed), Picture()
    name = ipywidgets.ToggleButtons(options=list(SCHEDULES), description="schedule")
    steps = ipywidgets.SelectionSlider(options=sorted({10, 50, 100, 250, 500, 1000, 2000, 4000, T}), value=T,
                                       description="T")
    offset = ipywidgets.FloatSlider(value=0.008, min=0, max=0.1, step=0.002, readout_format=".3f", disabled=True,
                                    description="s (cosine)")
    step = ipywidgets.IntSlider(value=T // 2, min=0, max=T - 1, description="t")
    step.layout.width = "60%"

    def redraw(_=None):
        offset.disabled = name.value != "cosine"
        panel.draw(name.value, steps.value, step.value, offset.value)
        picture.show(panel.png(), panel.alt)

    def another_T(change):                                   # t keeps its share of T; one redraw, not three
        share = (step.value + 1) / change.old
        step.unobserve(redraw, "value")
        step.max = change.new - 1
        step.value = max(0, round(share * change.new) - 1)
        step.observe(redraw, "value")
        redraw()

    steps.observe(another_T, "value")
    for control in (name, offset, step):
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([name, ipywidgets.HBox([steps, offset]), step, picture])


# ---------------------------------------------------------------- notebook 20
@torch.no_grad()
def guesses(model, schedule, target, images, labels, t, seed=0):
    """(N, C, H, W) uint8 images at step t with the noise of `seed`, and the network's guess of them, as floats.

    labels: (N,) what the network is told; num_classes stands for nothing.
    """
    x0, tt, device = to_float(images), torch.full((len(images),), t), next(model.parameters()).device
    xt = q_sample(schedule, x0, tt, torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)))
    output = model(xt.to(device), tt.to(device), labels.to(device)).cpu()
    return xt, predict_x0(schedule, xt, tt, output, target)


def explore_denoising(model, schedule, target, held_out, columns=10, seed=0):
    """Choose t and what the network is told of the class; see held-out images, noised, and what the network sees there.

    held_out: `data.Images`.
    """
    line, picture, classes = ipywidgets.Label(), Picture(), held_out.classes
    images, labels = held_out.images[:columns], held_out.labels[:columns]
    step = ipywidgets.IntSlider(value=schedule.T // 2, min=0, max=schedule.T - 1, description="t")
    step.layout.width = "60%"
    told = ipywidgets.Dropdown(options=["its own class", "nothing", *classes], description="told")

    def redraw(_=None):
        K = model.num_classes
        known = labels if told.index == 0 else torch.full_like(labels, K if told.index == 1 else told.index - 2)
        noisy, guess = guesses(model, schedule, target, images, known, step.value, seed)
        error = (guess - to_float(images)).square().mean()
        line.value = f"t = {step.value} of {schedule.T}, told {told.value}: mean squared error of the guess {error:.3g}"
        sheet = figures.image_grid(torch.stack([images, to_uint8(noisy), to_uint8(guess)]),
                                   ["image", "with noise", "guess"], [classes[k] for k in labels])
        picture.show(figures.to_png(sheet), f"Images, the same with noise, and the network's guess. {line.value}")

    for control in (step, told):
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([step, told, line, picture])


# ---------------------------------------------------------------- notebook 30
def explore_sampling(model, schedule, target, classes, image_shape, columns=10, seed=0):
    """Choose how a trained network samples and watch an image of each class form, above those of the settings before.

    Both start from the same noise, so that what differs is what was chosen. Any change starts anew.
    """
    y = torch.arange(min(columns, len(classes))).to(next(model.parameters()).device)
    counts = [n for n in (1, 2, 3, 5, 10, 15, 25, 50, 100, 250, 1000) if n <= schedule.T]
    late = {"continuous_update": False}
    sampler = ipywidgets.ToggleButtons(options=list(samplers.SAMPLERS), description="sampler")
    steps = ipywidgets.SelectionSlider(options=counts, value=min(25, counts[-1]), description="steps", **late)
    spacing = ipywidgets.Dropdown(options=samplers.SPACINGS, description="spacing")
    guidance = ipywidgets.FloatSlider(value=2, min=0, max=8, step=0.5, description="guidance", **late)
    x0_handling = ipywidgets.Dropdown(options=samplers.X0_HANDLINGS, value="clip", description="x0")
    eta = ipywidgets.FloatSlider(value=0, min=0, max=1, step=0.1, description="eta (ddim)", disabled=True, **late)
    number = ipywidgets.BoundedIntText(value=seed, min=0, max=2**31 - 1, description="seed")
    line, picture, sheets = ipywidgets.Label(), Picture(), {}       # sheets: {name of a row: images}, the last ones

    def draw(words):
        rows, line.value = torch.stack([to_uint8(x.cpu()) for x in sheets.values()]), words
        picture.show(figures.to_png(figures.image_grid(rows, list(sheets), [classes[k] for k in y])),
                     f"An image of each class. Rows: {', '.join(sheets)}. {words}")

    def begin():
        noise = samplers.ImageNoise(number.value, range(len(y)), image_shape)
        walk = samplers.sample_steps(
            model, schedule, y, noise, target=target, sampler=sampler.value, steps=steps.value, spacing=spacing.value,
            eta=eta.value if sampler.value == "ddim" else 0.0, guidance=guidance.value, x0_handling=x0_handling.value)
        return watch(walk, f"{sampler.value}, {steps.value} steps, guidance {guidance.value:g}"), steps.value, "steps"

    def watch(walk, words):
        before, drawn = sheets.get("now"), 0.0
        for done, (t, x, x0) in enumerate(walk, 1):
            sheets.clear()
            sheets.update({"now": x, "guess": x0} | ({} if before is None else {"before": before}))
            if done == steps.value or time.monotonic() - drawn > 0.4:
                draw(f"{words}: after step t = {t}")
                drawn = time.monotonic()
            yield {"done": done}

    work = Work(begin, "Dream")

    def restart(_):
        eta.disabled = sampler.value != "ddim"
        work.start()

    for control in (sampler, steps, spacing, guidance, x0_handling, eta, number):
        control.observe(restart, "value")
    sheets["now"] = samplers.ImageNoise(seed, range(len(y)), image_shape)()
    draw("noise: press Dream, or change anything")
    sheets.clear()
    return ipywidgets.VBox([sampler, ipywidgets.HBox([steps, guidance]), ipywidgets.HBox([spacing, x0_handling]),
                            ipywidgets.HBox([eta, number]), work, line, picture])


# ---------------------------------------------------------------- notebook 40
def explore_arms(predictions, labels, classes):
    """Choose two arms; see which test images one gets right and the other wrong, by class.

    predictions: {arm: (variants, seeds, N)}; labels (N,). Both arms have opened the test, so nothing new is learned
    from it that a choice could use: this looks at results.
    """
    options, picture = list(predictions), Picture()
    first = ipywidgets.Dropdown(options=options, value="real", description="from")
    second = ipywidgets.Dropdown(options=options, value="real + synthetic", description="to")

    def redraw(_=None):
        names = first.value, second.value
        change, p = outcomes.changed_cells(predictions, labels, classes, *names)
        accuracy = [outcomes.accuracies(predictions[name], labels).mean() for name in names]
        words = f"{first.value} {accuracy[0]:.1f} %, {second.value} {accuracy[1]:.1f} %"
        picture.show(figures.to_png(figures.confusion_difference(change, classes, p)),
                     f"Difference of two confusion matrices in points, significant cells framed: {words}")
        line.value = f"Test accuracy: {words}, {accuracy[1] - accuracy[0]:+.1f} points"

    line = ipywidgets.Label()
    for control in (first, second):
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([ipywidgets.HBox([first, second]), line, picture])


# ---------------------------------------------------------------- notebook 45
def explore_mixes(train, synthetic, validation, recipe, kept=5):
    """Choose how many real and synthetic images there are and how they share a batch; train, and see the curve grow.

    All `data.Images`; recipe: a `study.Recipe`. The last `kept` mixes stay in the picture. Validation images only: the
    test stays sealed.
    """
    late, most, per_class = {"continuous_update": False}, len(synthetic) / len(train), len(train) / len(train.classes)
    real = ipywidgets.SelectionSlider(options=[(f"{share:.0%}", share) for share in (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)],
                                      value=1.0, description="real images", **late)
    ratio = ipywidgets.FloatSlider(value=min(1, most), min=0, max=most, step=0.05, description="for each real", **late)
    share = ipywidgets.FloatSlider(value=recipe.synthetic_fraction, min=0, max=1, step=0.05,
                                   description="batch share", **late)
    picture, curves, some = Picture(), {}, study.watched(validation)

    def draw():
        last = "; ".join(f"{name}: {points[-1][1].mean():.1f} %" for name, points in curves.items())
        picture.show(figures.to_png(figures.accuracy_curves(curves)),
                     f"Validation accuracy against optimiser steps. {last}")

    def begin():
        some_real, count = study.first_of_each_class(train, float(real.value)), round(ratio.value * per_class)
        parts, name = (some_real, None), f"{len(some_real):,} real"
        if count and share.value:
            extra = study.first_of_each_class(synthetic, count)
            parts, name = (some_real, extra), f"{name} + {len(extra):,} synthetic ({share.value:.0%} of a batch)"
            if share.value == 1:
                parts, name = (extra, None), f"{len(extra):,} synthetic"
        model, records = study.begin(*parts, dataclasses.replace(recipe, synthetic_fraction=share.value))
        curves.pop(name, None)
        while len(curves) >= kept:
            curves.pop(next(iter(curves)))
        return watch(name, model, records), recipe.steps, "steps"

    def watch(name, model, records):
        for record in records:
            curves.setdefault(name, []).append((record["done"], study.accuracies(model, some)))
            draw()
            yield record

    return ipywidgets.VBox([ipywidgets.HBox([real, ratio, share]), Work(begin, "Train"), picture])


# ---------------------------------------------------------------- notebook 50
def explore_runs(generated, columns=12):
    """Choose a class; see what each of the generation runs made of it, from the same noise.

    Those whose images have the first one's shape.
    """
    if not generated:
        return ipywidgets.Label("no run of these has generated images")
    trained = runs.run_at(generated[0].config["train_run"])
    classes = load_model(trained.path("model.safetensors"))[0].classes
    made = {}
    for run in generated:
        with np.load(run.path("images.npz")) as arrays:
            made[run.label] = figures.by_class(arrays["images"], arrays["labels"], len(classes), columns)
    made = {label: sheet for label, sheet in made.items() if sheet.shape == made[generated[0].label].shape}
    picture = Picture()
    name = ipywidgets.Dropdown(options=[(words, k) for k, words in enumerate(classes)], description="class")

    def redraw(_=None):
        rows = np.stack([sheet[name.value] for sheet in made.values()])
        picture.show(figures.to_png(figures.image_grid(rows, list(made))),
                     f"Generated images of class {classes[name.value]}, a row for each run.")

    name.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([name, picture])
