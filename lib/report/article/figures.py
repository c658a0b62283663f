"""The article's figures: one width, letters that can be read on a phone."""
import matplotlib.pyplot as plt
import numpy as np

from lib.report.figures import COLOURS, OTHERS, short, show_sheet

# 5.1 inch and a margin: letters of 10 points have 9 px on a phone of 390 px; the page shows them 551 px wide
WIDTH, DPI = 5.1, 130
MARKERS = {"rival": "s", "synthetic": "o", "optimum": "^", "paper": "D"}


def article(height, rows=1, columns=1, **options):
    """A figure of the article's width and `height` inches, and its axes."""
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), dpi=DPI, **options)
    for ax in np.ravel(axes):
        ax.tick_params(labelsize=10)
    return fig, axes


def front(strip, real, synthetic):
    """The hero: from noise to an image, below it real and synthetic images side by side.

    strip: (N, C, H, W) uint8 from noise to image, or None; real, synthetic: (R, M, C, H, W), one of each class in turn.
    """
    R, M = np.asarray(real).shape[:2]
    fig, axes = article(0.55 + WIDTH / 2 * R / M + (0.75 if strip is not None else 0))
    axes.remove()
    grid = fig.add_gridspec(1 + (strip is not None), 2, height_ratios=[0.6, WIDTH / 2 * R / M][strip is None:])
    if strip is not None:
        show_sheet(ax := fig.add_subplot(grid[0, :]), np.asarray(strip)[None])
        ax.set_title("from noise to an image \u2192", fontsize=10)
    for column, (sheet, title) in enumerate(((real, "real"), (synthetic, "synthetic"))):
        show_sheet(ax := fig.add_subplot(grid[-1, column]), sheet)
        ax.set_title(title, color=COLOURS[title], weight="bold")
    for ax in fig.axes:
        ax.set(xticks=[], yticks=[])
    return fig


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


def diagram(real, synthetic, test, arms):
    """Data -> generator -> arms -> sealed test. real, synthetic, test: numbers of images; arms: [(name, line, kind,
    share)], kind a word of COLOURS, share of synthetic images in its batches."""
    bottom = 1.0 + 0.24 * len(arms)
    fig, ax = article(bottom + 0.65)
    ax.axis("off")
    ax.set(xlim=(0, 100), ylim=(bottom + 0.62, -0.03))                  # y in inches
    box(ax, (0, 28), (0, 0.45), f"{real:,} real\nimages", COLOURS["real"])
    box(ax, (40, 62), (0, 0.45), "diffusion\nmodel", "black")
    box(ax, (72, 100), (0, 0.45), f"{synthetic:,} synthetic\nimages", COLOURS["synthetic"])
    box(ax, (0, 100), (bottom + 0.28, bottom + 0.58), f"sealed test: {test:,} real images, opened once by each arm",
        "black")
    for start, end in (((28, 0.22), (40, 0.22)), ((62, 0.22), (72, 0.22)), ((14, 0.45), (14, 0.75)),
                       ((86, 0.45), (86, 0.75)), ((50, bottom - 0.08), (50, bottom + 0.28))):
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0})
    for row, (arm, line, kind, share) in enumerate(arms):
        y = 0.92 + 0.24 * row
        ax.barh(y, 8 * (1 - share), 0.16, color=COLOURS["real"])
        ax.barh(y, 8 * share, 0.16, left=8 * (1 - share), color=COLOURS["synthetic"])
        ax.text(10, y, arm, color=COLOURS[kind], va="center", fontsize=10)
        ax.text(50, y, line, va="center", fontsize=10)
    return fig


def box(ax, x, y, words, colour):
    """A box with words. x, y: (from, to)."""
    ax.add_patch(plt.Rectangle((x[0], y[0]), x[1] - x[0], y[1] - y[0], fc="white", ec=colour, lw=1.8))
    ax.text(sum(x) / 2, sum(y) / 2, words, ha="center", va="center", color=colour, linespacing=1.1, fontsize=10)


def bridge(levels, steps):
    """Accuracy from level to level, with what makes each rise. levels: [(name, percent)]; steps: [(words, Estimate,
    kind)] between them."""
    fig, ax = article(2.7)
    values = [value for _, value in levels]
    for x, value in enumerate(values):
        colour = COLOURS["synthetic" if x == len(values) - 1 else "real"]
        ax.plot([2 * x - 0.5, 2 * x + 0.5], [value, value], color=colour, lw=5, solid_capstyle="butt")
        ax.annotate(f"{value:.1f} %", (2 * x, value), (0, 6), textcoords="offset points", ha="center", weight="bold")
    for x, (words, gain, kind) in enumerate(steps):
        start, end = values[x], values[x + 1]
        ax.plot([2 * x + 0.5, 2 * x + 1.4], [start, start], color="black", lw=0.8, ls=":")
        ax.annotate("", (2 * x + 1, end), (2 * x + 1, start),
                    arrowprops={"arrowstyle": "-|>", "color": COLOURS[kind], "lw": 3, "shrinkA": 0, "shrinkB": 0})
        ax.annotate(f"{words}\n{gain.number(gain.value)}", (2 * x + 1, max(start, end)), (0, 6), ha="center",
                    textcoords="offset points", color=COLOURS[kind], weight="bold")
    ax.set_xticks([2 * x for x in range(len(values))], [label for label, _ in levels])
    ax.set_ylabel("test accuracy in percent")
    ax.margins(y=0.25)
    ax.grid(axis="x", visible=False)
    return fig


def gains(groups, apart=(), each=None):
    """Gains against real images below each other, in groups. groups: {(title, kind): {arm: Estimate}}; apart:
    [(arm, Estimate)], written below because their values lie far off; each: {arm: the gain in each replicate}."""
    lines = sum(1.2 + len(arms) for arms in groups.values())
    fig, ax = article(0.27 * (lines + 1.2 * len(apart)) + 0.7)
    y, labels = 0, {}
    for (title, kind), arms in groups.items():
        labels[y] = title, kind
        for arm, gain in arms.items():
            y += 1
            labels[y] = arm, ""
            if each:
                ax.plot(each[arm], [y + 0.3] * len(each[arm]), "o", ms=2.5, color=COLOURS[kind], alpha=0.6)
            interval(ax, gain, y, COLOURS[kind], MARKERS.get(kind, "o"))
        y += 1.2
    for arm, gain in apart:
        labels[y] = arm, ""
        ax.text(0.01, y, f"\u25c0 {gain}", transform=ax.get_yaxis_transform(), va="center", backgroundcolor="white")
        y += 1.2
    rows_of_intervals(ax, y - 0.5)
    ax.set_yticks(list(labels), [words for words, _ in labels.values()])
    ax.tick_params(axis="y", length=0)
    for label, (_, kind) in zip(ax.get_yticklabels(), labels.values(), strict=True):
        if kind:
            label.set(color=COLOURS[kind], weight="bold")
    ax.set_xlabel("change of test accuracy, in points")
    return fig


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
    ax.set_yticks(range(len(walks)), [f"{walk.schedule}, {PREDICTED.get(walk.target, walk.target)}" for walk in walks])
    ax.set(ylim=(len(walks) - 0.5, -0.6), xlabel="label agreement in percent")
    ax.margins(x=0.05)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ends = [plt.Line2D([], [], marker="o", ls="", ms=8, color="black", mfc=inside) for inside in ("white", "black")]
    ax.legend(ends, ["no limit", "clipped"], loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, fontsize=10)
    return fig


PREDICTED = {"eps": "predicts noise", "v": "predicts v", "x0": "predicts image"}


def gallery(rows):
    """Images of several sources below each other. rows: {name: (N, C, H, W)}, the same N in each."""
    sheets = np.stack([np.asarray(images) for images in rows.values()])
    R, N, _, H, W = sheets.shape
    fig, ax = article((WIDTH - 1.2) * R * H / (N * W) + 0.3)
    show_sheet(ax, sheets, [short(label, 24) for label in rows])
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
            late = h.tail(max(1, len(h) // 5)).filter(regex=r"^error_\d+$").mean()
            right.plot((np.arange(len(late)) + 0.5) / len(late), late, **look)
    left.set(xlabel="images seen", yscale="log")
    left.set_title("loss", fontsize=10)
    left.xaxis.set_major_locator(plt.MaxNLocator(3))
    right.set(xlabel="from clean (0) to noise (1)", yscale="log", xlim=(0, 1))
    right.set_title("squared error late in training", fontsize=10)
    fig.legend(loc="outside upper left", ncols=2, fontsize=10)
    return fig
