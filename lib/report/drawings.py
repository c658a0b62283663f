"""The figures of a page: each is drawn from the collected runs of a plan, one width, letters that a phone can show.

`FIGURES` is the one list. An article places a figure by its name with its own caption; the plain report uses the
caption and alt text of the list. To add a figure, write `draw(collected, **options) -> Drawn` and its line.
"""
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from lib import InputError
from lib.report import tables
from lib.report.figures import COLOURS, KINDS, OTHERS, group, late_errors, short, show_sheet
from lib.report.results import Generation, Training
from lib.study import EQUAL_EPOCHS, FURTHER, GROUPS, MIXED, ORACLE, REAL

# 5.1 inch and a margin: letters of 10 points have 9 px on a phone of 390 px; the page shows them 551 px wide
WIDTH, DPI = 5.1, 130
MARKERS = {"rival": "s", "synthetic": "o", "optimum": "^", "paper": "D"}


class Drawn(NamedTuple):
    """A figure with where its numbers are: a step (collected.Step) and the name of one of its tables, or "".

    switch: what the page's reader can choose, or None: {legend, axis: (low, high) in percent, ticks, rows: [{name,
    colour}], states: [{label, sentence, values: for each row (value, low, high) or None}]}.
    """

    figure: Any
    step: Any
    table: str = ""
    switch: dict | None = None


COLUMNS = 10        # classes that a sheet of images shows
PREDICTED = {"eps": "predicts noise", "v": "predicts v", "x0": "predicts image"}


def article(height, rows=1, columns=1, **options):
    """A figure of the article's width and `height` inches, and its axes."""
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), dpi=DPI, **options)
    for ax in np.ravel(axes):
        ax.tick_params(labelsize=10)
    return fig, axes


def interval(ax, estimate, y, colour, marker="o"):
    """An Estimate as a line with a marker, filled where the interval leaves out 0."""
    if estimate.low is not None:
        ax.plot([estimate.low, estimate.high], [y, y], color=colour, lw=2.6, solid_capstyle="butt")
    ax.plot(estimate.value, y, marker, ms=8, color=colour, mew=1.8, mfc=colour if estimate.clear else "white")


def rows_of_intervals(ax, y, zero=True):
    """Common looks of intervals below each other: no frame on the left, a line at 0. y: how far down they go."""
    ax.set(ylim=(y, -0.8), yticks=[])
    ax.grid(axis="y", visible=False)
    ax.spines["left"].set_visible(False)
    if zero:
        ax.axvline(0, color="black", lw=1, zorder=0)


def forest(studies, kinds):
    """Every study's gains below its name. studies: [(name, note, {kind: Estimate})]; kinds: {kind: what it is}."""
    lines = sum(1.3 + 0.75 * len(gains) for _, _, gains in studies)
    fig, ax = article(0.27 * lines + 1.3)
    y = 0
    for label, note, gains in studies:
        ax.text(0, y, short(label, 44), transform=ax.get_yaxis_transform(), weight="bold", va="center",
                bbox={"fc": "white", "ec": "none", "pad": 1})
        ax.text(1, y, note, transform=ax.get_yaxis_transform(), ha="right", va="center")
        for kind, gain in gains.items():
            y += 0.75
            interval(ax, gain, y, COLOURS[kind], MARKERS[kind])
        y += 1.3
    shown = [kind for kind in kinds if any(kind in gains for _, _, gains in studies)]
    handles = [plt.Line2D([], [], marker=MARKERS[kind], ls="", ms=8, color=COLOURS[kind]) for kind in shown]
    ax.legend(handles, [kinds[kind] for kind in shown], loc="lower left", bbox_to_anchor=(-0.02, 1), fontsize=10)
    rows_of_intervals(ax, y - 0.6)
    ax.set_xlabel("change of test accuracy, in points")
    return fig


def comparison(states, rows, axis):
    """Accuracies of several ways to train, below each other for each way to compare; see Drawn.switch."""
    fig, ax = article(0.3 * sum(1.6 + sum(v is not None for v in state["values"]) for state in states) + 0.5)
    y, names = 0, {}
    for state in states:
        ax.text(0, y, state["label"], transform=ax.get_yaxis_transform(), weight="bold", va="center")
        for row, value in zip(rows, state["values"], strict=True):
            if value:
                y += 1
                names[y] = row["name"]
                ax.plot(value[1:], [y, y], color=COLOURS[row["colour"]], lw=2.6, solid_capstyle="butt")
                ax.plot(value[0], y, "o", ms=8, color=COLOURS[row["colour"]])
                ax.annotate(f"{value[0]:.1f} %", (value[2], y), (6, 0), textcoords="offset points", va="center")
        y += 1.6
    rows_of_intervals(ax, y - 0.8, zero=False)
    ax.set(xlim=axis, xlabel="test images right, in percent")
    ax.set_yticks(list(names), list(names.values()))
    ax.tick_params(axis="y", length=0)
    return fig


def gains(study):
    """The gain of each arm of a Study with the same number of updates against real images, in the registry's groups.

    A small dot is one repetition. Gains that lie far below the others are written below, since they would squeeze them.
    """
    arms = [arm for arm in study.arms if arm.gain and arm.steps == study.arm(REAL).steps]
    far = [arm for arm in arms if is_far(arm.gain, study)]
    groups = {name: [a for a in arms if group(a.arm) == name and a not in far] for name in (*GROUPS, "others")}
    groups = {name: members for name, members in groups.items() if members}
    fig, ax = article(0.27 * (sum(1.2 + len(members) for members in groups.values()) + 1.2 * len(far)) + 0.7)
    y, labels = 0, {}
    for name, members in groups.items():
        kind = KINDS.get(name, "control")
        labels[y] = name, COLOURS[kind]
        for arm in members:
            y += 1
            labels[y] = short(arm.arm, 30), ""
            each = study.each_gain[arm.arm] if study.each_gain else []
            ax.plot(each, [y + 0.3] * len(each), "o", ms=2.5, color=COLOURS[kind], alpha=0.6)
            interval(ax, arm.gain, y, COLOURS[kind], MARKERS.get(kind, "o"))
        y += 1.2
    for arm in far:
        labels[y] = short(arm.arm, 30), ""
        ax.text(0.01, y, f"\u25c0 {arm.gain}", transform=ax.get_yaxis_transform(), va="center")
        y += 1.2
    rows_of_intervals(ax, y - 0.5)
    ax.set_yticks(list(labels), [label for label, _ in labels.values()])
    ax.tick_params(axis="y", length=0)
    for label, (_, colour) in zip(ax.get_yticklabels(), labels.values(), strict=True):
        if colour:
            label.set(color=colour, weight="bold")
    ax.set_xlabel("change of test accuracy, in points")
    return fig


def is_far(gain, study):
    """Whether a gain lies so far below the others that it would squeeze them."""
    middle = sorted(abs(arm.gain.value) for arm in study.arms if arm.gain)
    return gain.value < -10 and gain.value < -4 * max(1, middle[len(middle) // 2])


def confusion_pair(matrices, classes):
    """Two confusion matrices side by side on one scale, with the numbers of at least 10. matrices: {title: (K, K)
    percent, rows sum to 100}."""
    K = len(classes)
    long = max(map(len, classes)) > 2
    fig, axes = article(3.9 if long else 3.1, 1, 2, sharey=True)
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
        ax.imshow(matrix, cmap="Blues", vmin=0, vmax=100)
        for i, j in np.argwhere(np.asarray(matrix) >= 9.5) if K <= 12 else ():
            ax.text(j, i, f"{matrix[i][j]:.0f}", ha="center", va="center", fontsize=9,
                    color="white" if matrix[i][j] > 55 else "black")
        ax.set(xlabel="predicted", xticks=[], yticks=[])
        ax.set_title(title)
        if K <= 30:
            ax.set_xticks(range(K), [short(c, 14) for c in classes], rotation=90 if long else 0)
            ax.set_yticks(range(K), [short(c, 14) for c in classes])
        ax.tick_params(length=0)
        ax.grid(False)
    axes[0].set_ylabel("true")
    return fig


def slopes(before, after, classes, names, most=12):
    """Two values of each class, joined by a line: green where it rises, purple where it falls. before, after: (K,)
    percent; names: of the two. Of more than `most` classes those that change most have a name."""
    change = np.asarray(after) - np.asarray(before)
    named = set(np.argsort(-np.abs(change), kind="stable")[:most])
    fig, ax = article(max(2.4, 0.25 * len(named) + 0.6))
    for k, (a, b) in enumerate(zip(before, after, strict=True)):
        colour = COLOURS["control" if k not in named else "synthetic" if b >= a else "paper"]
        ax.plot([0, 1], [a, b], "o-" if b >= a else "o--", color=colour, lw=1.8, ms=5, zorder=2 if k in named else 1)
    low, high = ax.get_ylim()
    for end, values, side, away in ((0, before, "right", -1), (1, after, "left", 1)):
        places = spaced([values[k] for k in sorted(named)], (high - low) / max(len(named), 1))
        for k, place in zip(sorted(named), places, strict=True):
            words = [short(classes[k], 18), f"{values[k]:.0f}"][::-away]
            ax.plot([end + 0.03 * away, end + 0.11 * away], [values[k], place], color="black", lw=0.6)
            ax.text(end + 0.13 * away, place, "  ".join(words), ha=side, va="center")
            low, high = min(low, place), max(high, place)
    ax.set(xlim=(-0.8, 1.8), ylim=(low, high), xticks=[0, 1], xticklabels=names, yticks=[])
    ax.spines[["bottom", "left"]].set_visible(False)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    return fig


def spaced(values, gap):
    """The values, moved apart so that neighbours differ by at least `gap`, their mean unchanged as far as possible."""
    order = np.argsort(values, kind="stable")
    places = np.array(values, float)[order]
    for _ in range(200):
        for i in range(len(places) - 1):
            lack = gap - (places[i + 1] - places[i])
            if lack > 1e-9:
                places[i] -= lack / 2
                places[i + 1] += lack / 2
    result = np.empty_like(places)
    result[order] = places
    return result


def quality(panels):
    """A panel for each measure with a row for each generator, and what real images reach. panels: {title: {generator:
    ([Estimate of each replicate], reference or None)}}. Of one its interval, of several a dot each and their mean."""
    rows = len(next(iter(panels.values())))
    high = (len(panels) + 1) // 2
    fig, axes = article(high * (0.26 * rows + 0.95), high, 2, sharey=True, squeeze=False)
    for ax, (title, values) in zip(axes.flat, panels.items(), strict=False):
        for row, (estimates, reference) in enumerate(values.values()):
            each, low = [e.value for e in estimates], estimates[0].low
            if len(each) > 1:
                ax.plot(each, [row] * len(each), "o", color=COLOURS["synthetic"], ms=4, alpha=0.45, mew=0)
            elif low is not None:
                ax.plot([low, estimates[0].high], [row, row], color=COLOURS["synthetic"], lw=2.6)
            ax.plot(np.mean(each), row, "o", color=COLOURS["synthetic"], ms=7)
            if reference is not None:
                ax.plot([reference] * 2, [row - 0.42, row + 0.42], color=COLOURS["real"], lw=2.6)
        ax.set_title(title, fontsize=10)
        ax.set_yticks(range(rows), [short(label, 22) for label in values])
        ax.set_ylim(rows - 0.4, -0.6)
        ax.margins(x=0.1)
    for ax in axes.flat[len(panels):]:
        ax.set_visible(False)
    return fig


def exchange(curves, rates):
    """Accuracy against the number of images, and how many real ones a number of synthetic ones is worth, by arrows.

    curves: {name: DataFrame with x, accuracy, low, high}; rates: [(synthetic, accuracy, real)]."""
    fig, ax = article(3.6)
    styles = {"real alone": ("real", "-", "s"), "synthetic alone": ("synthetic", "-", "o")}
    for label, curve in curves.items():
        kind, line, marker = styles.get(label, ("synthetic", "--", "D"))
        ax.plot(curve["x"], curve["accuracy"], line, marker=marker, color=COLOURS[kind], lw=2, ms=5, label=label)
        ax.fill_between(curve["x"].astype(float), curve["low"].astype(float), curve["high"].astype(float),
                        color=COLOURS[kind], alpha=0.18, lw=0)
    ax.set(xscale="log", xlabel="number of images", ylabel="test accuracy in percent")
    bottom = ax.get_ylim()[0]
    for synthetic, accuracy, real in rates:
        for end, start in (((real, accuracy), (synthetic, accuracy)), ((real, bottom), (real, accuracy))):
            ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 1.1, "shrinkA": 0,
                                                    "shrinkB": 0})
    ax.set_ylim(bottom=bottom)
    ticks = sorted({int(x) for curve in curves.values() for x in curve["x"]})
    apart = ticks[-1:]
    for x in reversed(ticks):
        apart += [x] * (apart[-1] / x > 1.8)
    ax.set_xticks(apart, [f"{x:,}" for x in apart])
    ax.minorticks_off()
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, fontsize=10, borderaxespad=0)
    return fig


def limits(walks):
    """Label agreement without and with a limit on the estimated image, a row for each Walk with an arrow between."""
    fig, ax = article(0.42 * len(walks) + 0.9)
    for row, walk in enumerate(walks):
        colour = COLOURS.get(walk.schedule, "black")
        for shift, end, inside in ((-0.13, walk.free, "white"), (0.13, walk.clipped, colour)):
            ax.plot([end.low, end.high], [row + shift] * 2, color=colour, lw=2.4, solid_capstyle="butt")
            ax.plot(end.value, row + shift, "o", ms=8, color=colour, mew=1.8, mfc=inside)
    several = len({(walk.schedule, walk.target) for walk in walks}) < len(walks)
    ax.set_yticks(range(len(walks)), [f"{walk.schedule}, {PREDICTED.get(walk.target, walk.target)}"
                                      + f", {walk.sampler} in {walk.steps}" * several for walk in walks])
    ax.set(ylim=(len(walks) - 0.5, -0.6), xlabel="label agreement in percent")
    ax.margins(x=0.05)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ends = [plt.Line2D([], [], marker="o", ls="", ms=8, color="black", mfc=inside) for inside in ("white", "black")]
    ax.legend(ends, ["no limit", "clipped"], loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, fontsize=10)
    return fig


def gallery(rows):
    """Images of several sources below each other. rows: {name: (N, C, H, W)}, the same N in each."""
    sheets = np.stack([np.asarray(images) for images in rows.values()])
    R, N, _, H, W = sheets.shape
    fig, ax = article((WIDTH - 1.2) * R * H / (N * W) + 0.3)
    show_sheet(ax, sheets, [short(label, 24) for label in rows])
    ax.tick_params(axis="y", labelsize=13)
    return fig


def losses_and_errors(histories):
    """Training loss against images seen, and the error of late training along the schedule. histories: {name: [of
    each replicate a DataFrame with images, loss, error_0, error_1, ...]}."""
    fig, (left, right) = article(3.0, 1, 2)
    lines = ["-", "--", ":", "-."]
    for k, (label, replicates) in enumerate(histories.items()):
        look = {"ls": lines[k % 4], "color": [*list(COLOURS.values())[:3], *OTHERS][k % 9],
                "lw": 1.8 if len(replicates) == 1 else 0.9}
        for number, h in enumerate(replicates):
            left.plot(h["images"], h["loss"].ewm(span=max(1, len(h) // 20)).mean(), **look,
                      label=None if number else short(label, 24))
            late = late_errors(h)
            right.plot((np.arange(len(late)) + 0.5) / len(late), late, **look)
    left.set(xlabel="images seen", yscale="log")
    left.set_title("loss", fontsize=10)
    left.xaxis.set_major_locator(plt.MaxNLocator(3))
    right.set(xlabel="from clean (0) to noise (1)", yscale="log", xlim=(0, 1))
    right.set_title("squared error late in training", fontsize=10)
    fig.legend(loc="outside upper left", ncols=2, fontsize=10)
    return fig


def image_rows(groups, classes):
    """Images below the names of their classes, in groups. groups: {(name, colour): (rows, columns, C, H, W)}."""
    rows = sum(len(sheet) for sheet in groups.values())
    columns = len(classes)
    side = (WIDTH - 0.3) / columns
    fig, axes = article(rows * side + 0.85 + 0.1 * len(groups), len(groups), 1, squeeze=False,
                        height_ratios=[len(sheet) for sheet in groups.values()])
    for ax, ((name, colour), sheet) in zip(axes[:, 0], groups.items(), strict=True):
        show_sheet(ax, sheet)
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, color=colour, weight="bold", fontsize=13)
    top, width = axes[0, 0], axes[0, 0].get_xlim()[1] - axes[0, 0].get_xlim()[0]
    left = top.get_xlim()[0]
    for k, label in enumerate(classes):
        long = max(map(len, classes)) > 4
        top.text(left + (k + 0.5) * width / columns, top.get_ylim()[1], short(label, 14), fontsize=13,
                 ha="left" if long else "center", va="bottom", rotation=35 if long else 0, rotation_mode="anchor")
    return fig


def near_and_scarce(curves):
    """Gains of synthetic images against their distance to real ones, a colour for each number of real images.

    curves: [(name, [GeneratorGain], gain of further real images: an Estimate or None)]. Circles: generators that
    learned from these real images alone, diamonds: from more; a small dot is one repetition. At the left edge a bar is
    the gain of further real images. Beside a marker: how many images its network saw.
    """
    fig, ax = article(4.6)
    palette = [COLOURS["linear"], COLOURS["cosine"], COLOURS["synthetic"], *OTHERS]
    colours = [palette[k % len(palette)] for k in range(len(curves))]
    near, far = (end(g.distance for _, gains, _ in curves for g in gains) for end in (min, max))
    left = 0.75 * near
    for colour, (_, gains, ceiling) in zip(colours, curves, strict=True):
        for arm, marker, line in ((MIXED, "o", "-"), (ORACLE, "D", "--")):
            own = sorted((g for g in gains if g.arm == arm), key=lambda g: g.distance)
            ax.plot([g.distance for g in own], [g.gain.value for g in own], line, color=colour, lw=1.4, zorder=1)
            for g in own:
                ax.plot([0.97 * g.distance] * len(g.each), g.each, "o", color=colour, ms=3, alpha=0.5, mew=0)
                if g.gain.low is not None:
                    ax.plot([g.distance] * 2, [g.gain.low, g.gain.high], color=colour, lw=2.2, solid_capstyle="butt")
                ax.plot(g.distance, g.gain.value, marker, color=colour, ms=8, mew=1.8, zorder=3,
                        mfc=colour if g.gain.clear else "white")
        if ceiling:
            ax.plot([left, 1.08 * left], [ceiling.value] * 2, color=colour, lw=4, solid_capstyle="butt", clip_on=False)
    ax.axhline(0, color="black", lw=1, zorder=0)
    ax.set(xscale="log", xlim=(left, 1.3 * far), xlabel="distance to real images, in multiples of real to real",
           ylabel="gain over the real images, in points")
    ticks = [t for n in (1, 10, 100, 1000) for t in (n, 1.5 * n, 2 * n, 3 * n, 5 * n, 7 * n) if left < t < 1.3 * far]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.margins(y=0.08)
    label_apart(ax, [(g, colour) for colour, (_, gains, _) in zip(colours, curves, strict=True) for g in gains])
    arms, black = {g.arm for _, gains, _ in curves for g in gains}, {"color": "black", "ms": 8}
    looks = {"learned from these images": (MIXED in arms, {"marker": "o"}),
             "learned from more images": (ORACLE in arms, {"marker": "D", "ls": "--"}),
             "further real images": (any(ceiling for *_, ceiling in curves), {"lw": 4})}
    legend = {name: {"color": colour, "lw": 5} for colour, (name, *_) in zip(colours, curves, strict=True)}
    legend |= {name: black | look for name, (there, look) in looks.items() if there}
    fig.legend([plt.Line2D([], [], **look) for look in legend.values()], list(legend), loc="outside upper left",
               ncols=2, fontsize=10)
    return fig


def label_apart(ax, markers):
    """The images that each network saw, at the right of its marker; where markers are near each other, the labels are
    moved apart. markers: [(GeneratorGain, colour)]"""
    markers, groups = sorted(markers, key=lambda pair: pair[0].distance), []
    for pair in markers:
        if not groups or pair[0].distance > 1.15 * groups[-1][-1][0].distance:
            groups.append([])
        groups[-1].append(pair)
    low, high = ax.get_ylim()
    for group_ in groups:
        places = spaced([g.gain.value for g, _ in group_], (high - low) / 22)
        for (g, colour), place in zip(group_, places, strict=True):
            ax.annotate(thousands(g.images) if g.images else "elsewhere", (g.distance, place), (8, 0),
                        textcoords="offset points", va="center", fontsize=9, color=colour)


def thousands(number):
    """A number of images in few letters: 500, 20k, 1.2M."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)


# ---------------------------------------------------------------- from the runs of a plan
def study_of(collected, study=""):
    """The study with the label `study`, or the main one."""
    return next(s for s in collected.studies if study in ("", s.label))


def generation_of(collected, generator=""):
    """The first generation of the family `generator`, or of the main one."""
    return collected.families(Generation)[generator][0] if generator else collected.main[1][0]


def sheet_of(step):
    """The Sheet of a generation; InputError where it cannot be made here."""
    if step.sheet is None:
        raise InputError(f"figure of {step.name}: its images or its real data ({step.data}) are not here: expected "
                         "images.npz in its run, and the data where --data-dir or DREAMING_DATA_DIR says")
    return step.sheet


def draw_images(collected, generator="", rows=2):
    step = generation_of(collected, generator)
    classes = step.training.result.classes[:COLUMNS]

    def grid(images):
        """The first `rows` images of each class: (rows, columns, C, H, W)."""
        K = len(step.training.result.classes)
        return np.stack([images[r * K:r * K + len(classes)] for r in range(min(rows, len(images) // K) or 1)])

    sheet = sheet_of(step)
    groups = {("real", COLOURS["real"]): grid(sheet.real), ("synthetic", COLOURS["synthetic"]): grid(sheet.synthetic)}
    return Drawn(image_rows(groups, classes), step)


COMPARISONS = {"rival": "free augmentation of the real images", "synthetic": "synthetic images, equal updates",
         "optimum": "synthetic images, each arm at its own optimum",
         "paper": "synthetic images, the original paper's comparison"}


def draw_forest(collected, studies=(), kinds=tuple(COMPARISONS)):
    rows = []
    for step in collected.studies:
        if studies and step.label not in studies:
            continue
        study = step.result
        rival, levels = study.arm(study.rival), [study.arm(arm).accuracy.value for arm in (REAL, MIXED)]
        gains = {"rival": rival and rival.gain, "synthetic": study.gain, "optimum": study.optimum_gain,
                 "paper": study.paper_gain}
        rows.append((collected.names[step], "{:.1f} → {:.1f} %".format(*levels),
                     {kind: gain for kind, gain in gains.items() if gain and kind in kinds}))
    return Drawn(forest(rows, COMPARISONS), collected.study, "arms")


def draw_gains(collected, study=""):
    step = study_of(collected, study)
    return Drawn(gains(step.result), step, "arms")


def draw_generators(collected, studies=()):
    """studies: the labels of those that are drawn; () is all whose generators' gains are known."""
    chosen = [s for s in collected.with_generator_gains if not studies or s.label in studies]
    first, several = chosen[0], len({s.result.classifier for s in chosen}) > 1
    curves = [(f"{s.result.real_images:,} real images" + f", {s.result.classifier}" * several,
               s.result.generator_gains, s.result.best_gain(FURTHER)) for s in chosen]
    return Drawn(near_and_scarce(curves), first, "generator_gains")


def draw_comparison(collected, study="", says=("", "")):
    """Three ways to train beside each other, compared as the original paper did, with equal training and with each at
    its best. says: the sentence for each comparison; a comparison without one is not shown."""
    step = study_of(collected, study)
    result = step.result
    arms = [("real images only", "real", "real"), ("real and synthetic images", MIXED, "synthetic"),
            (RIVAL_NAMES.get(result.rival, result.rival), result.rival, "rival")]
    best = {arm.arm: arm for arm in result.optimum}
    compared = {"As the original paper did": [result.arm(EQUAL_EPOCHS), result.arm(MIXED), None],
                "Equal training": [result.arm(arm) for _, arm, _ in arms],
                "Each at its best": [best.get(arm) for _, arm, _ in arms]}
    states = [{"label": label, "sentence": sentence,
               "values": [arm and (arm.accuracy.value, arm.accuracy.low, arm.accuracy.high) for arm in trained]}
              for (label, trained), sentence in zip(compared.items(), says, strict=False)]     # one for each sentence
    every = [v for state in states for value in state["values"] if value for v in value]
    low, high = 10 * np.floor(min(every) / 10), 10 * np.ceil(max(every) / 10)
    axis, rows = (float(low), float(high)), [{"name": name, "colour": colour} for name, _, colour in arms]
    switch = {"legend": "How to compare", "axis": axis, "ticks": list(range(int(low), int(high) + 1, 10)), "rows": rows,
              "states": states}
    return Drawn(comparison(states, rows, axis), step, "arms", switch)


RIVAL_NAMES = {"real + shift": "real images, shifted", "real + flip": "real images, mirrored",
               "real + flip and shift": "real images, mirrored and shifted"}


def draw_confusion(collected, study=""):
    step = study_of(collected, study)
    matrices = {arm: step.result.confusion.loc[arm] for arm in (REAL, MIXED)}
    classes = [str(c) for c in matrices["real"].columns]
    return Drawn(confusion_pair({arm: m.to_numpy(float) for arm, m in matrices.items()}, classes), step, "confusion")


def draw_recall(collected, study=""):
    step = study_of(collected, study)
    before, after = (step.result.confusion.loc[arm] for arm in (REAL, MIXED))
    classes = [str(c) for c in before.columns]
    values = [matrix.to_numpy(float).diagonal() for matrix in (before, after)]
    return Drawn(slopes(*values, classes, (REAL, MIXED)), step, "by_class")


def draw_quality(collected):
    measured = {name: tables.measures(steps) for name, steps in collected.families(Generation).items()}
    panels = {measure: {label: m[measure] for label, m in measured.items()} for measure in tables.MEASURES}
    return Drawn(quality(panels), collected.generations[0], "by_class")


def draw_worth(collected, dose=""):
    step = next(s for s in collected.doses if dose in ("", s.label))
    curves = {"real alone": "without", "synthetic alone": "only"}
    drawn = {name: step.result.curves[step.result.curves["curve"] == curve] for name, curve in curves.items()}
    read = [(e.synthetic, e.accuracy.value, e.real.value) for e in step.result.exchange if e.real]
    return Drawn(exchange(drawn, read[-1:]), step, "curves")


def draw_walks(collected):
    step = next(s for s in collected.ablations if s.result.walks)
    return Drawn(limits(step.result.walks), step, "walks")


def draw_limit_images(collected, schedule="cosine", target="eps"):
    made = {step.config["x0_handling"]: step for step in collected.generations
            if (step.training.config["schedule"], step.training.config["target"]) == (schedule, target)}
    free, clipped = sheet_of(made["none"]), sheet_of(made["clip"])
    rows = {"real": free.real[:COLUMNS], "no limit": free.synthetic[:COLUMNS], "clipped": clipped.synthetic[:COLUMNS]}
    return Drawn(gallery(rows), made["none"])


def draw_losses(collected):
    networks = collected.families(Training)
    histories = {name: [step.run.history for step in steps] for name, steps in networks.items()}
    return Drawn(losses_and_errors(histories), collected.trainings[0], "history")


class Drawing(NamedTuple):
    """A figure of the list. caption, alt: of the plain report."""

    draw: Any
    caption: str
    alt: str


INTERVALS = "Lines are 95 % intervals; a marker is filled where the interval leaves out 0."
FIGURES = {
    "comparison": Drawing(draw_comparison, "**How the comparison is made decides what it shows.** Lines are 95 % "
                          "intervals.",
                          "Test accuracy of three ways to train, compared in two ways."),
    "images": Drawing(draw_images, "**Real and synthetic images of each class.** The real ones are training images.",
                      "Rows of images below the names of their classes: real ones, then synthetic ones."),
    "forest": Drawing(draw_forest, "**The change of test accuracy in every study.** At the right, the accuracy without "
                      f"and with synthetic images at equal updates. {INTERVALS}",
                      "Dots with intervals: each study's change of test accuracy."),
    "gains": Drawing(draw_gains, f"**Each arm against the real images alone.** {INTERVALS} A small dot is one "
                     "repetition.",
                     "Dots with intervals: the change of test accuracy of each arm, in groups."),
    "generators": Drawing(draw_generators, "**How near the generator is, and how scarce the real images are.** "
                          "Circles: generators that learned from the study's real images alone; diamonds: from more. "
                          "A small dot is one repetition; a bar at the left is the gain of as many further real "
                          "images. Beside a marker: the images that its network saw in training. " + INTERVALS,
                          "Gains of synthetic images against their distance to real ones, by number of real images."),
    "confusion": Drawing(draw_confusion, "**Which classes are confused.** A row is a true class, a column what the "
                         "classifier says, in percent of the row. Numbers below 10 are not written.",
                         "Two confusion matrices: trained on real images, and on real and synthetic ones."),
    "recall": Drawing(draw_recall, "**The recall of each class without and with synthetic images.** Recall is the "
                      "share of a class's test images that the classifier recognises.",
                      "Slope chart: each class's recall without and with synthetic images."),
    "quality": Drawing(draw_quality, "**How good the images are.** A row is a generator, a small dot one of its "
                       "repetitions; the grey line is what real images reach.",
                       "Four panels: label agreement, Fréchet distance, coverage, closeness to training images."),
    "worth": Drawing(draw_worth, "**How many real images a number of synthetic ones is worth.** The arrow leads from a "
                     "number of synthetic images to the number of real ones with the same accuracy. Bands are 95 % "
                     "intervals.",
                     "Two curves of accuracy against the number of images, real alone and synthetic alone."),
    "walks": Drawing(draw_walks, "**Label agreement without and with a limit on the estimated image.** Hollow: no "
                     "limit; filled: clipped. Lines are Wilson's 95 % intervals.",
                     "Dots with intervals: label agreement of each schedule and target, without and with a limit."),
    "limit_images": Drawing(draw_limit_images, "**The same network from the same noise, without and with the limit.**",
                            "Rows of images: real ones, those without a limit, those with one."),
    "losses": Drawing(draw_losses, "**Training.** Left, the loss; right, the error along the schedule.",
                      "Two line charts: training loss, and squared error along the schedule."),
}
