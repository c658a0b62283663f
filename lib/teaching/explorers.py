"""Explorers for JupyterLab, one or more for each notebook: controls over the functions and figures that it uses."""
import dataclasses
import functools
import html

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from lib.data.images import to_float, to_uint8
from lib.diffusion import samplers
from lib.diffusion.checkpoints import load_model
from lib.diffusion.process import predict_x0, q_posterior, q_sample
from lib.diffusion.schedules import SCHEDULES, make_schedule
from lib.diffusion.training import train_ddpm
from lib.diffusion.unet import UNet
from lib.report import figures, runs
from lib.study import MIXED, REAL, arms, fitting, outcomes, theory
from lib.teaching.widgets import Film, Now, Picture, Row, SchedulePanel, Work, row, stacked


def sheet_png(figure):
    """PNG bytes of a figure whose last part is a sheet; its columns' names take turns where they would collide."""
    ticks = figure.axes[-1].xaxis.get_major_ticks()
    if len(ticks) > 5 and max(len(tick.label2.get_text()) for tick in ticks) > 6:
        for tick in ticks[1::2]:
            tick.set_pad(16)
    return figures.to_png(figure)


def step_counts(T):
    """The numbers of steps that one can choose for a walk."""
    return [n for n in (1, 2, 3, 5, 10, 15, 25, 50, 100, 250, 1000) if n <= T]


# ---------------------------------------------------------------- notebook 00
def watch_images_form(model, schedule, target, *, rows=2, steps=25, guidance=2.0, seed=0):
    """Images of each of the network's classes form out of noise in the cell's output; the last ones stay there."""
    K, film = model.num_classes, Film()
    noise = samplers.ImageNoise(seed, range(rows * K), model.image_shape)
    y, steps = torch.arange(rows * K) % K, min(steps, schedule.T)
    walk = samplers.sample_steps(model, schedule, y.to(next(model.parameters()).device), noise, target=target,
                                 steps=steps, guidance=guidance, x0_handling="clip")
    for done, (_, x, _) in enumerate(walk, 1):
        sheet = to_uint8(x.cpu()).unflatten(0, (rows, K))
        words = f"{'Synthetic images' if done == steps else 'Images half way out of noise'}, of each of {K} classes"
        film.show(sheet_png(figures.image_grid(sheet, column_names=model.classes)), words)


# ---------------------------------------------------------------- notebook 10
def explore_schedules(images, T=1000, seed=0):
    """Choose schedule, T, cosine's s and t; see the noised images and where on the curves they are."""
    panel, picture = SchedulePanel(images, seed), Picture()
    name = ipywidgets.Dropdown(options=list(SCHEDULES), description="schedule")
    steps = ipywidgets.Dropdown(options=sorted({10, 50, 100, 250, 500, 1000, 2000, 4000, T}), value=T,
                                description="T")
    offset = ipywidgets.FloatSlider(value=0.008, min=0, max=0.1, step=0.002, readout_format=".3f", disabled=True,
                                    description="s (cosine)")
    step = ipywidgets.IntSlider(value=T // 4, min=0, max=T - 1, description="t")
    step.layout.width = "60%"

    def redraw(_=None):
        offset.disabled = name.value != "cosine"
        picture.show(*panel.draw(name.value, steps.value, step.value, offset.value), scale=1.5)

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
    return stacked(row(name, steps, offset), row(step), picture)


# ---------------------------------------------------------------- notebook 20
@torch.no_grad()
def estimates(model, schedule, target, images, labels, t, seed=0, x0_handling="none"):
    """(N, C, H, W) uint8 images at step t with the noise of `seed`, and the network's estimate of them, as floats.

    labels: (N,) the classes that the network is told, num_classes for none. x0_handling: how the estimate is limited.
    """
    x0, tt, device = to_float(images), torch.full((len(images),), t), next(model.parameters()).device
    xt = q_sample(schedule, x0, tt, torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)))
    output = model(xt.to(device), tt.to(device), labels.to(device)).cpu()
    return xt, samplers.limit_x0(predict_x0(schedule, xt, tt, output, target), x0_handling)


def explore_denoising(model, schedule, target, held_out, columns=10, seed=0):
    """Choose t and what the network is told of the class; see held-out images, noised, and what the network sees there.

    Its estimate of the image is clipped to [-1, 1], as samplers do, or left as it is: near pure noise the estimate of a
    network that answers with eps is its error divided by a small number. held_out: `data.Images`.
    """
    line, picture, classes = ipywidgets.HTML(), Picture(), held_out.classes       # a Label would be cut off
    images, labels = held_out.images[:columns], held_out.labels[:columns]
    step = ipywidgets.IntSlider(value=schedule.T // 2, min=0, max=schedule.T - 1, description="t")
    step.layout.width = "60%"
    told = ipywidgets.Dropdown(options=["its own class", "nothing", *classes], description="told")
    limit = ipywidgets.Dropdown(options=["clip", "none"], description="limit")

    def redraw(_=None):
        K, ac = model.num_classes, schedule.alphas_cumprod[step.value].item()
        known = labels if told.index == 0 else torch.full_like(labels, K if told.index == 1 else told.index - 2)
        noisy, estimate = estimates(model, schedule, target, images, known, step.value, seed, limit.value)
        error = (estimate - to_float(images)).square().mean()
        words = f"t = {step.value} of {schedule.T}, told {told.value}: mean squared error of the estimate {error:.3g}"
        if target == "eps":
            factor = ((1 - ac) / ac)**0.5
            words += f"; in it an error of eps counts {factor:,.{0 if factor > 10 else 2}f} times" + (
                ", before the clip" if limit.value == "clip" else "")
        line.value = html.escape(words)
        sheet = figures.image_grid(torch.stack([images, to_uint8(noisy), to_uint8(estimate)]),
                                   ["image", "with noise", "estimate"], [classes[k] for k in labels])
        picture.show(sheet_png(sheet), f"Images, the same with noise, and the network's estimate. {words}")

    for control in (step, told, limit):
        control.observe(redraw, "value")
    redraw()
    return stacked(row(step), row(told, limit), line, picture)


def explore_retraining(network, train, config, columns=10):
    """Choose two schedules and train a network like `network` on each: their losses and images beside each other.

    Both begin with the same weights, see the same images in the same order and sample from the same noise; what
    differs is the schedule. train: `data.Images`; config: the training's parameters, used for all but schedule and
    steps.
    """
    device, options = next(network.parameters()).device, network.options
    y = torch.arange(min(columns, network.num_classes)).to(device)
    same = {name: getattr(config, name) for name in (
        "batch", "optimizer", "lr", "muon_lr", "target", "loss_weight", "grad_clip", "label_drop",
        "ema_halflife_images", "flip", "seed")}
    first, second = (ipywidgets.Dropdown(options=list(SCHEDULES), value=name, description=words)
                     for name, words in (("linear", "schedule"), ("cosine", "against")))
    steps = ipywidgets.Dropdown(options=[100, 300, 600, 1200], value=300, description="steps each")
    picture, histories, rows = Picture(), {}, {}

    def noise():
        return samplers.ImageNoise(config.seed, range(len(y)), network.image_shape)

    def draw(words):
        sheet = figures.losses_beside_images(histories, rows, [train.classes[k] for k in y])
        picture.show(sheet_png(sheet), f"Training losses, and an image of each class, {', '.join(rows)}: {words}")

    def begin():
        names = list(dict.fromkeys([first.value, second.value]))
        histories.clear()
        rows.clear()
        rows.update({name: to_uint8(noise()()) for name in names})
        return watch(names), len(names) * steps.value, "steps"

    def watch(names):
        for number, name in enumerate(names):
            torch.manual_seed(config.seed)
            model, schedule, records = UNet(**options).to(device), make_schedule(name, config.T), []
            for record in train_ddpm(model, schedule, train.images, train.labels, steps=steps.value,
                                     warmup_steps=min(config.warmup_steps, steps.value // 5), **same):
                records.append(record)
                histories[name] = pd.DataFrame(records)
                now_and_then(f"{name} learns; its images come when it has")
                yield {"done": number * steps.value + record["done"]}
            rows[name] = to_uint8(samplers.sample(
                model, schedule, y, noise(), target=config.target, steps=min(25, config.T), guidance=2.0,
                x0_handling="clip").cpu())
            now_and_then(f"after {steps.value} steps")

    now_and_then = Now(2, draw)
    work = Work(begin, "Train both", now_and_then.last)
    rows.update({name: to_uint8(noise()()) for name in (first.value, second.value)})
    draw("not trained yet; Train both begins")
    return stacked(row(first, second, steps), work, picture)


# ---------------------------------------------------------------- notebook 30
def explore_sampling(model, schedule, target, classes, image_shape, columns=10, seed=0):
    """Choose how a trained network samples and watch an image of each class form, above those of the settings before.

    Both start from the same noise, so that what differs is what was chosen. Any change starts anew.
    """
    y = torch.arange(min(columns, len(classes))).to(next(model.parameters()).device)
    counts, late = step_counts(schedule.T), {"continuous_update": False}
    sampler = ipywidgets.Dropdown(options=list(samplers.SAMPLERS), description="sampler")
    steps = ipywidgets.Dropdown(options=counts, value=min(25, counts[-1]), description="steps")
    spacing = ipywidgets.Dropdown(options=samplers.SPACINGS, description="spacing")
    guidance = ipywidgets.FloatSlider(value=2, min=0, max=8, step=0.5, description="guidance", **late)
    x0_handling = ipywidgets.Dropdown(options=samplers.X0_HANDLINGS, value="clip", description="limit")
    eta = ipywidgets.FloatSlider(value=0, min=0, max=1, step=0.1, description="eta (ddim)", disabled=True, **late)
    number = ipywidgets.BoundedIntText(value=seed, min=0, max=2**31 - 1, description="seed")
    line, picture, sheets = ipywidgets.Label(), Picture(), {}       # sheets: {name of a row: images}, the last ones

    def draw(words):
        rows, line.value = torch.stack([to_uint8(x.cpu()) for x in sheets.values()]), words
        picture.show(sheet_png(figures.image_grid(rows, list(sheets), [classes[k] for k in y])),
                     f"An image of each class. Rows: {', '.join(sheets)}. {words}")

    def begin():
        noise = samplers.ImageNoise(number.value, range(len(y)), image_shape)
        walk = samplers.sample_steps(
            model, schedule, y, noise, target=target, sampler=sampler.value, steps=steps.value, spacing=spacing.value,
            eta=eta.value if sampler.value == "ddim" else 0.0, guidance=guidance.value, x0_handling=x0_handling.value)
        return watch(walk, f"{sampler.value}, {steps.value} steps, guidance {guidance.value:g}"), steps.value, "steps"

    def watch(walk, words):
        before = sheets.get("now")
        for done, (t, x, x0) in enumerate(walk, 1):
            sheets.clear()
            sheets.update({"now": x, "estimate": x0} | ({} if before is None else {"before": before}))
            now_and_then(f"{words}: after {done} of {steps.value} steps, the last from t = {t}")
            yield {"done": done}

    now_and_then = Now(0.4, draw)
    work = Work(begin, "Dream", now_and_then.last)

    def restart(_):
        eta.disabled = sampler.value != "ddim"
        work.start()

    for control in (sampler, steps, spacing, guidance, x0_handling, eta, number):
        control.observe(restart, "value")
    sheets["now"] = samplers.ImageNoise(seed, range(len(y)), image_shape)()
    draw("noise: press Dream, or change anything")
    sheets.clear()
    return stacked(row(sampler, steps, guidance), row(spacing, x0_handling, eta, number), work, line, picture)


def explore_steps(model, schedule, target, classes, image_shape, guidance=2.0, seed=0):
    """Follow one image through the sampler ancestral or ddim: what each step sees, estimates and makes of it.

    The slider goes over the steps that are made; Stop leaves it at the last one. Beside the pictures the numbers of
    the formulas (Ho et al. 2020, eq. 4, 6 and 7; Song et al. 2021, eq. 12).
    """
    counts, late = step_counts(schedule.T), {"continuous_update": False}
    name = ipywidgets.Dropdown(options=[(words, k) for k, words in enumerate(classes)], description="class")
    steps = ipywidgets.Dropdown(options=counts, value=min(25, counts[-1]), description="steps")
    scale = ipywidgets.FloatSlider(value=guidance, min=0, max=8, step=0.5, description="guidance", **late)
    limit = ipywidgets.Dropdown(options=["clip", "none"], description="limit")
    sampler = ipywidgets.Dropdown(options=["ancestral", "ddim"], description="sampler")
    place = ipywidgets.IntSlider(value=1, min=1, max=1, description="step")
    place.layout.width = "60%"
    words, pictures, walked = ipywidgets.HTML(), Row(), []      # walked: (t, s, x, x0, next x) of each step so far

    def walk():
        walked.clear()
        noise, y = samplers.ImageNoise(seed, [0], image_shape), torch.tensor([name.value])
        x = samplers.ImageNoise(seed, [0], image_shape)()       # the walk's own first draw
        then = [*samplers.timesteps(schedule, steps.value)[1:], -1]
        made = samplers.sample_steps(model, schedule, y.to(next(model.parameters()).device), noise, target=target,
                                     sampler=sampler.value, steps=steps.value, guidance=scale.value,
                                     x0_handling=limit.value)
        for s, (t, after, x0) in zip(then, made, strict=True):
            walked.append((t, s, x, x0.cpu(), after.cpu()))
            x = after.cpu()
            place.max = len(walked)
            place.value = len(walked)
            yield {"done": len(walked)}

    def show(_=None):
        if place.value <= len(walked):
            images, told = one_step(schedule, sampler.value, *walked[place.value - 1])
            words.value = f"<b>Step {place.value} of {steps.value}</b>, {told}"
            pictures.show(images, f"Step {place.value} of {steps.value} of one image's walk from noise.")

    work = Work(lambda: (walk(), steps.value, "steps"), "Walk")

    def anew(_=None):                                           # the first step is shown at once, the others on demand
        work.stop()
        place.value = place.max = 1
        next(walk())
        show()

    place.observe(show, "value")
    for control in (name, sampler, steps, scale, limit):
        control.observe(anew, "value")
    anew()
    return stacked(row(name, sampler, steps), row(scale, limit), work, row(place), pictures, words)


def one_step(schedule, sampler, t, s, x, x0, after):
    """The images of a step of `sampler` from t to s (-1: the clean image) by name, and its formulas with numbers."""
    ac_t, ac_s = (schedule.alphas_cumprod[u].item() if u >= 0 else 1.0 for u in (t, s))
    noise, then = (x - ac_t**0.5 * x0) / (1 - ac_t)**0.5, f"x at t = {s}" if s >= 0 else "the image"
    images = {f"x at t = {t}": x, "estimate of the image": x0, "noise in x, by that": noise}
    if sampler == "ddim":
        made = f"{ac_s**0.5:.3f} \u00b7 estimate + {(1 - ac_s)**0.5:.3f} \u00b7 noise (eq. 12)"
    else:
        of_x0, variance = q_posterior(ac_t, ac_s, 1.0, 0.0)
        of_x, sd = q_posterior(ac_t, ac_s, 0.0, 1.0)[0], variance**0.5
        images["fresh noise"] = (after - of_x0 * x0 - of_x * x) / sd if sd else torch.zeros_like(x)
        made = f"{of_x0:.3f} \u00b7 estimate + {of_x:.3f} \u00b7 x + {sd:.3f} \u00b7 fresh noise (eq. 6, 7)"
    told = "<br>".join([
        f"t = {t}: {ac_t:.3g} of the signal's variance is in x",
        f"x = {ac_t**0.5:.3f} \u00b7 estimate + {(1 - ac_t)**0.5:.3f} \u00b7 noise (eq. 4)", f"{then} = {made}"])
    return {words: to_uint8(image)[0] for words, image in (images | {then: after}).items()}, told


def explore_guidance(model, schedule, target, classes, image_shape, scales=(0, 1, 2, 4, 8), steps=25, columns=10,
                     seed=0):
    """One button: the same noise under growing guidance, a row for each scale."""
    y, steps = torch.arange(min(columns, len(classes))).to(next(model.parameters()).device), min(steps, schedule.T)
    picture, rows = Picture(), {}

    def noise():
        return samplers.ImageNoise(seed, range(len(y)), image_shape)

    def draw(words):
        sheet = figures.image_grid(torch.stack([*rows.values()]), [f"guidance {g:g}" for g in rows],
                                   [classes[k] for k in y])
        picture.show(sheet_png(sheet), f"An image of each class, a row for each guidance: {words}")

    def begin():
        rows.update({scale: to_uint8(noise()()) for scale in scales})
        return watch(), len(scales) * steps, "steps"

    def watch():
        for number, scale in enumerate(scales):
            for done, (_, x, _) in enumerate(samplers.sample_steps(
                    model, schedule, y, noise(), target=target, steps=steps, guidance=scale, x0_handling="clip"), 1):
                rows[scale] = to_uint8(x.cpu())
                now_and_then(f"guidance {scale:g}, step {done} of {steps}")
                yield {"done": number * steps + done}

    begin()
    draw("all begin with the same noise")
    now_and_then = Now(0.4, draw)
    return stacked(Work(begin, "Compare", now_and_then.last), picture)


def walks(schedule, name, steps, spacing, predict, n, seed=0):
    """Times and n walks (steps + 1, n) of one pixel from noise by the sampler `name`; its estimate: predict(ac, x)."""
    generator, times = torch.Generator().manual_seed(seed), samplers.timesteps(schedule, steps, spacing)

    def noise():
        return torch.randn(n, generator=generator, dtype=torch.float64)

    first = noise()
    made = samplers.SAMPLERS[name](lambda x, t: predict(schedule.alphas_cumprod[t], x),
                                   schedule.alphas_cumprod.tolist() + [1.0], times, first, noise)
    return [*times, -1], torch.stack([first, *(x for _, x, _ in made)])


def explore_walks(schedule, deviation=0.5):
    """Choose steps and spacing; see walks of one pixel by each sampler, and how wrong each is after how many calls.

    No network is needed, because the best estimate is known: of a pixel that is -1 or 1 for the walks (page 10), of one
    that is normal with this `deviation` for the errors. The error is that of the deviation with which a sampler ends.
    """
    counts, picture = [n for n in step_counts(schedule.T) if n <= 100], Picture()
    steps = ipywidgets.Dropdown(options=counts, value=min(10, counts[-1]), description="steps")
    spacing = ipywidgets.Dropdown(options=samplers.SPACINGS, description="spacing")

    def normal(ac, x):
        return ac**0.5 * deviation**2 * x / (ac * deviation**2 + 1 - ac)

    @functools.cache
    def errors(name, spacing):
        return [abs(walks(schedule, name, n, spacing, normal, 20_000)[1][-1].std() / deviation - 1) for n in counts]

    def redraw(_=None):
        picture.hide()                                          # never the old walks beside a new choice
        fig, axes = plt.subplots(2, 3, figsize=(9.6, 4.6), layout="constrained")
        *panels, last = axes.flat
        for ax, (name, colour) in zip(panels, figures.colours(list(samplers.SAMPLERS)).items(), strict=True):
            times, path = walks(schedule, name, steps.value, spacing.value, theory.best_estimate, 12)
            ax.plot([(t + 1) / schedule.T for t in times], path, ".-", lw=1, ms=3, color=colour, alpha=0.6)
            ax.set(title=name, xlim=(1.02, -0.02), ylim=(-3, 3), xlabel="$t/T$")
            calls = [2 * n - 1 if name == "heun" else n for n in counts]
            last.loglog(calls, errors(name, spacing.value), ".-", color=colour, label=name)
        last.set(title="error of the spread at the end", xlabel="network calls", ylim=(1e-4, 2))
        last.legend(fontsize=7)
        picture.show(figures.to_png(fig), f"Twelve walks of one pixel from noise (left) to -1 or 1 (right) in "
                     f"{steps.value} steps by each of {len(panels)} samplers, and their errors against network calls.")

    for control in (steps, spacing):
        control.observe(redraw, "value")
    redraw()
    return stacked(row(steps, spacing), picture)


# ---------------------------------------------------------------- notebook 40
def explore_arms(predictions, labels, classes):
    """Choose two arms; see which test images one gets right and the other wrong, by class.

    predictions: {arm: (replicates, generators, seeds, N)}; labels (N,). Both arms have opened the test, so nothing new
    is learned from it that a choice could use: this looks at results.
    """
    options, picture = list(predictions), Picture()
    first = ipywidgets.Dropdown(options=options, value=REAL, description="from")
    second = ipywidgets.Dropdown(options=options, value=MIXED, description="to")

    @functools.cache
    def made(*names):
        """The picture and the words of two arms."""
        change, p = outcomes.changed_cells(predictions, labels, classes, *names)
        accuracy = [outcomes.accuracies(predictions[name], labels).mean() for name in names]
        words = ", ".join(f"{name} {percent:.1f} %" for name, percent in zip(names, accuracy, strict=True))
        return (figures.to_png(figures.confusion_difference(change, classes, p)),
                f"{words}, {accuracy[1] - accuracy[0]:+.1f} points")

    def redraw(_=None):
        line.value = "computing ..."
        picture.hide()                                      # never old numbers beside a new choice
        png, words = made(first.value, second.value)
        picture.show(png, f"Difference of two confusion matrices in points, significant cells framed: {words}")
        line.value = f"Test accuracy: {words}"

    line = ipywidgets.Label()
    for control in (first, second):
        control.observe(redraw, "value")
    redraw()
    return stacked(row(first, second), line, picture)


# ---------------------------------------------------------------- notebook 45
def explore_mixes(train, synthetic, validation, recipe, kept=5):
    """Choose how many real and synthetic images there are and how they share a batch; train, and see the curve grow.

    All `data.Images`; recipe: `fitting.Recipe`. The last `kept` mixes stay in the picture. Validation images only: the
    test stays sealed.
    """
    late, most, per_class = {"continuous_update": False}, len(synthetic) / len(train), len(train) / len(train.classes)
    real = ipywidgets.Dropdown(options=[(f"{share:.0%}", share) for share in (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)],
                                      value=1.0, description="real images")
    ratio = ipywidgets.FloatSlider(value=min(1, most), min=0, max=most, step=0.05, description="for each real", **late)
    share = ipywidgets.FloatSlider(value=recipe.synthetic_fraction, min=0, max=1, step=0.05,
                                   description="batch share", **late)
    picture, curves, some = Picture(), {}, fitting.watched([validation])
    picture.value = "<i>The curve of validation accuracy is drawn here while a mix is trained.</i>"

    def draw():
        last = "; ".join(f"{name}: {points[-1][1].mean():.1f} %" for name, points in curves.items())
        picture.show(figures.to_png(figures.accuracy_curves(curves)),
                     f"Validation accuracy against optimiser steps. {last}")

    def begin():
        some_real, count = arms.first_of_each_class(train, float(real.value)), round(ratio.value * per_class)
        parts, name = ([some_real], None), f"{len(some_real):,} real"
        if count and share.value:
            extra = arms.first_of_each_class(synthetic, count)
            parts, name = ([some_real], [extra]), f"{name} + {len(extra):,} synthetic ({share.value:.0%} of a batch)"
            if share.value == 1:
                parts, name = ([extra], None), f"{len(extra):,} synthetic"
        model, records = fitting.begin(*parts, dataclasses.replace(
            recipe, synthetic_fraction=share.value, seeds=1 if recipe.alone else recipe.seeds))
        curves.pop(name, None)
        while len(curves) >= kept:
            curves.pop(next(iter(curves)))
        return watch(name, model, records), recipe.steps, "steps"

    def watch(name, model, records):
        for record in records:
            curves.setdefault(name, []).append((record["done"], fitting.accuracies(model, some)))
            now_and_then()
            yield record

    now_and_then = Now(0.4, draw)
    return stacked(row(real, ratio, share), Work(begin, "Train", now_and_then.last), picture)


# ---------------------------------------------------------------- notebook 50
def explore_runs(generated, columns=12):
    """Choose a class; see what each of the generation runs made of it, from the same noise.

    Those whose images have the first one's shape.
    """
    generated = [run for run in generated if run.path("images.npz").exists()]   # those of a finished study may be gone
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
    return stacked(row(name), picture)
