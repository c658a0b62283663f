"""Figures: each function takes arrays and returns a matplotlib Figure. A thing has the same colour in all figures."""
import base64
import io
import struct
import unicodedata

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from lib.report.text import figure_fonts, plain
from lib.study import ARMS, BASE, CONTROL, FREE, SYNTHETIC

# Okabe & Ito's palette, which colour-blind readers can distinguish
COLOURS = {"linear": "#0072B2", "cosine": "#D55E00", "synthetic": "#009E73", "real": "#5B6770", "perfect": "#A9B2B8",
           "rival": "#A66A00", "control": "#8C979E", "paper": "#AA3377",
           "optimum": "#009E73"}
OTHERS = ["#CC79A7", "#8A6D00", "#56B4E9", "#882255", "#117733", "#444444"]
plt.rcdefaults()            # whatever style the user has set: it could make words white on white, or ask for LaTeX
plt.rcParams.update({
    "figure.dpi": 100, "figure.constrained_layout.use": True, "font.family": figure_fonts(), "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "legend.frameon": False, "axes.titlelocation": "left"})


def colours(names):
    """A different colour for each name, as {name: colour}.

    A name that contains a key of COLOURS gets that colour, unless an earlier name has it; any other gets one of OTHERS.
    """
    free = iter(OTHERS * (1 + len(names) // len(OTHERS)))
    colour_of = {}
    for name in names:
        fixed = next((colour for key, colour in COLOURS.items() if key in name), None)
        colour_of[name] = fixed if fixed and fixed not in colour_of.values() else next(free)
    return colour_of


def short(name, longest=60):
    """The name of a class or a run as a figure shows it, cut to the width of `longest` letters."""
    letters, width = [], 0
    for letter in " ".join(str(name).split()):
        drawn = plain(letter) or letter
        width += max(len(drawn.removeprefix("\\")), 1 + (unicodedata.east_asian_width(letter) in "WF"))
        if width > longest:
            return "".join(letters) + "…"
        letters.append(drawn)
    return "".join(letters)


# ---------------------------------------------------------------- showing
def to_png(fig):
    """PNG bytes of a figure, with twice as many pixels as a page shows it with. Closes the figure."""
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=1.6 * fig.get_dpi(), bbox_inches="tight", facecolor="white")
    plt.close(fig)
    return file.getvalue()


def show_png(png, alt, caption="", name="", links=None, svg="", switch=None):
    """Display PNG bytes with an alt text and a Markdown caption.

    name: for links to the figure; links: {"notebook", "data"}, the files that have its numbers; svg: the same figure as
    SVG; switch: what a page's reader can choose (drawings.Drawn). A page reads all this from the picture's metadata.
    JupyterLab does not: for it the caption follows as a second output, which a page omits.
    """
    width, height = struct.unpack(">II", png[16:24])
    metadata = {"alt": alt, "caption": caption, "width": width // 2, "height": height // 2}
    more = {"name": name, "links": links, "svg": svg, "switch": switch}
    metadata |= {key: value for key, value in more.items() if value}
    picture = {"image/png": base64.b64encode(png).decode(), "text/plain": alt}
    display(picture, raw=True, metadata={"image/png": metadata})
    if caption:
        display({"text/markdown": caption, "text/plain": caption}, raw=True, metadata={"caption": True})


# ---------------------------------------------------------------- pictures
def to_pixels(image):
    """An image for imshow: (C, H, W) -> (H, W) if grey, else (H, W, C)."""
    image = np.asarray(image)
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def tile(rows, gap=1, background=255):
    """One picture of many images, with a white gap between them: (R, N, C, H, W) uint8 -> (height, width[, 3])."""
    rows = np.asarray(rows)
    R, N, C, H, W = rows.shape
    sheet = np.full((C, R * (H + gap) - gap, N * (W + gap) - gap), background, np.uint8)
    for r in range(R):
        for n in range(N):
            sheet[:, r * (H + gap):r * (H + gap) + H, n * (W + gap):n * (W + gap) + W] = rows[r, n]
    return to_pixels(sheet)


def show_sheet(ax, rows, row_names=(), column_names=(), title=None):
    """Draw images as a sheet with names of its rows and columns. rows: (R, N, C, H, W) uint8."""
    rows = np.asarray(rows)
    R, N, _, H, W = rows.shape
    gap = max(1, round(H / 16))
    ax.imshow(tile(rows, gap), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
    ax.set_yticks([r * (H + gap) + H / 2 for r in range(len(row_names))], [short(row, 30) for row in row_names])
    ax.set_xticks([n * (W + gap) + W / 2 for n in range(len(column_names))], [short(n, 30) for n in column_names])
    ax.xaxis.tick_top()
    ax.set_title(title)


def image_grid(rows, row_names=(), column_names=(), title=None):
    """A sheet of images, narrow enough that its names can be read on a phone. rows: (R, N, C, H, W) uint8, such as one
    row for each class."""
    R, N, _, H, W = np.asarray(rows).shape
    width = min(5.8, 0.75 * N + 0.5)
    fig, ax = plt.subplots(figsize=(width, width * R * H / (N * W) + 0.45))
    show_sheet(ax, rows, row_names, column_names, title)
    return fig


def real_and_synthetic(real, synthetic, classes):
    """A sheet of real images beside one of synthetic images, a row for each class. Both: (K, N, C, H, W) uint8."""
    K, N, _, H, W = np.asarray(real).shape
    fig, axes = plt.subplots(1, 2, figsize=(9, 4.5 * K * H / (N * W) * 0.93 + 0.4))
    show_sheet(axes[0], real, classes, title="real")
    show_sheet(axes[1], synthetic, [""] * K, title="synthetic")
    return fig


def losses_beside_images(histories, rows, column_names):
    """Training losses (left) and images of the same networks (right).

    histories: {name: DataFrame with images, loss}; rows: {name: (N, C, H, W) uint8}.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3), width_ratios=[1, 1.6])
    colour = colours(list(rows))
    for name, h in histories.items():
        left.plot(h["images"], h["loss"], color=colour[name], lw=2, label=name)
    left.set(xlabel="training images seen", title="training loss", yscale="log")
    if histories:
        left.legend()
    show_sheet(right, np.stack(list(rows.values())), list(rows), column_names)
    return fig


def by_class(images, labels, num_classes, n):
    """The first n images of each class, black where a class has fewer. (K, n, C, H, W) uint8"""
    images, labels = np.asarray(images), np.asarray(labels)
    sheet = np.zeros((num_classes, n, *images.shape[1:]), np.uint8)
    for k in range(num_classes):
        chosen = images[labels == k][:n]
        sheet[k, :len(chosen)] = chosen
    return sheet


def samples(files, n=2):
    """A list of figures, one for each shape of image: n images of each class from every run, a row for each run.

    files: {label: path of images.npz}; the columns go through the classes n times.
    """
    sheets = {}
    for label, file in files.items():
        with np.load(file) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        classes = int(labels.max()) + 1
        sheet = by_class(images, labels, classes, n).swapaxes(0, 1).reshape(n * classes, *images.shape[1:])
        sheets.setdefault(sheet.shape, {})[label] = sheet
    return [image_grid(np.stack(list(rows.values())), list(rows)) for rows in sheets.values()]


# ---------------------------------------------------------------- schedules and training
def schedule_curves(alphas_cumprod, noise_gain):
    """Three charts over t/T with a line for each schedule: signal, log-SNR, noise gain. Both: {name: (T,)}."""
    fig, axes = plt.subplots(1, 3, figsize=(10, 3.1))
    colour = colours(list(alphas_cumprod))
    for name, ac in alphas_cumprod.items():
        ac, u = np.asarray(ac), (np.arange(len(ac)) + 1) / len(ac)
        axes[0].plot(u, ac, color=colour[name], label=short(name), lw=2)
        axes[1].plot(u, np.log(ac / (1 - ac)), color=colour[name], label=short(name), lw=2)
        axes[2].semilogy(u, np.asarray(noise_gain[name]), color=colour[name], label=short(name), lw=2)
    axes[0].set(xlabel="$t/T$", title=r"share of signal $\bar\alpha_t$")
    axes[1].set(xlabel="$t/T$", title=r"log-SNR $\lambda_t$")
    axes[1].axhline(0, color="black", lw=0.8, ls=":")
    axes[2].set(xlabel="$t/T$", title="noise gain of a plain reverse step")
    axes[0].legend()
    return fig


def theory_and_measurement(t, expected, measured, names, ylabel):
    """Lines from a formula and circles from a simulation over the steps t. expected, measured: {name: (len(t),)}."""
    fig, ax = plt.subplots(figsize=(6, 3.2))
    colour = colours(names)
    for name in names:
        ax.plot(t, expected[name], color=colour[name], lw=2, label=f"{short(name)}: formula")
        ax.plot(t, measured[name], "o", color=colour[name], ms=5, mfc="white", label=f"{short(name)}: simulated")
    ax.set(xlabel="step $t$", ylabel=ylabel)
    ax.legend(ncols=2, fontsize=9)
    return fig


def one_curve_in_log_snr(formula, simulated, ylabel):
    """One quantity against t/T (left) and against log-SNR (right): lines of a formula, circles of a simulation.

    Both arguments: {name: (t/T, log-SNR, values)}, three arrays of one length.
    """
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
    colour = colours(list(formula))
    for name in formula:
        line, dots = f"{short(name)}: formula", f"{short(name)}: simulated"
        for ax, x, dot_x in zip(axes, formula[name], simulated[name], strict=False):
            ax.plot(x, formula[name][2], color=colour[name], lw=2, label=line)
            ax.plot(dot_x, simulated[name][2], "o", color=colour[name], ms=5, mfc="white", label=dots)
    axes[0].set(xlabel="$t/T$", ylabel=ylabel)
    axes[1].set(xlabel=r"log-SNR $\lambda_t$", xlim=(10, -10))
    axes[1].legend(fontsize=9, loc="lower right")
    return fig


def spread_on_the_way_back(spreads):
    """Standard deviation of x after each reverse step, a chart for each schedule. spreads: {name: {label: (T,)}}."""
    fig, axes = plt.subplots(1, len(spreads), figsize=(max(5, 4.5 * len(spreads)), 3.2), sharey=True, squeeze=False)
    styles = [(c, ls) for c in (OTHERS[1], OTHERS[3]) for ls in ("-", "--")]
    for ax, (name, lines) in zip(axes[0], spreads.items(), strict=True):
        for (label, values), (colour, ls) in zip(lines.items(), styles, strict=False):
            ax.plot(np.arange(len(values)) + 1, values, color=colour, ls=ls, lw=2, label=label)
        ax.set(xscale="log", yscale="log", title=name, xlabel="reverse steps done")
    axes[0][0].set_ylabel("standard deviation of $x$")
    axes[0][0].legend(fontsize=9, loc="upper left")
    return fig


def loss_curves(histories, x="images"):
    """Training loss against images seen: each record pale, their running mean dark.

    histories: {name: DataFrame with images, loss}.
    """
    fig, ax = plt.subplots(figsize=(6.5, 3.2))
    colour = colours(list(histories))
    for name, h in histories.items():
        smooth = h["loss"].ewm(span=max(5, len(h) // 20)).mean()
        point = "o" if len(h) == 1 else None                # a line through one point shows nothing
        ax.plot(h[x], h["loss"], color=colour[name], alpha=0.2, lw=1)
        ax.plot(h[x], smooth, color=colour[name], lw=2, marker=point, label=short(name))
    ax.set(xlabel="training images seen", ylabel="training loss", yscale="log")
    ax.legend()
    return fig


def late_errors(history):
    """Mean error over the last fifth of a training, in each part of 0..T-1. history: as for `error_by_t`. (parts,)"""
    return history.tail(max(1, len(history) // 5)).filter(regex=r"^error_\d+$").mean().to_numpy()


def error_by_t(histories, ylabel="squared error of the target"):
    """Mean error late in training in each part of 0..T-1. histories: {name: DataFrame with error_0, error_1, ...}."""
    fig, ax = plt.subplots(figsize=(6.5, 3.0))
    colour = colours(list(histories))
    for name, h in histories.items():
        late = late_errors(h)
        ax.plot((np.arange(len(late)) + 0.5) / len(late), late, "o-", color=colour[name], lw=2, label=short(name))
    ax.set(xlabel="$t/T$", ylabel=ylabel, yscale="log", xlim=(0, 1))
    ax.legend()
    return fig


def bound_terms(by_t, T):
    """Bits per dimension that one reverse step adds to the bound, against t. by_t: [(t, bits)]."""
    fig, ax = plt.subplots(figsize=(6.5, 2.8))
    t, bits = zip(*by_t, strict=True)
    ax.plot(np.array(t) + 1, bits, color=colours(["bits"])["bits"], lw=2)
    ax.set(xlabel="$t$, from clean to noise", ylabel="bits/dim of one step", yscale="log", xscale="log", xlim=(1, T))
    return fig


# ---------------------------------------------------------------- classifiers
def confusion(matrices, classes):
    """Confusion matrices side by side on one scale. matrices: {title: (K, K) percent, rows sum to 100}."""
    import seaborn as sns  # takes a second, which other figures need not wait for
    K, n, names = len(classes), len(matrices), [short(c, 20) for c in classes]
    fig, axes = plt.subplots(1, n, figsize=(4.9 * n, 4.5), squeeze=False)
    for ax, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
        sns.heatmap(matrix, ax=ax, cmap="Blues", vmin=0, vmax=100, annot=K <= 12, fmt=".0f", square=True,
                    cbar=False, annot_kws={"size": 8}, xticklabels=names, yticklabels=names)
        ax.set(xlabel="predicted", ylabel="true" if ax is axes[0][0] else "", title=title)
        tidy_labels(ax, classes)
    return fig


def confusion_difference(difference, classes, p_values=None):
    """The change of each cell of a confusion matrix: blue grew, red shrank.

    difference: (K, K) points; p_values: (K, K), cells below 0.05 get a frame.
    """
    import seaborn as sns  # takes a second, which other figures need not wait for
    limit, names = max(1.0, float(np.abs(difference).max())), [short(c, 20) for c in classes]
    fig, ax = plt.subplots(figsize=(5.6, 4.6))
    sns.heatmap(difference, ax=ax, cmap="RdBu", center=0, vmin=-limit, vmax=limit, annot=len(classes) <= 12,
                fmt="+.0f", square=True, annot_kws={"size": 8}, xticklabels=names, yticklabels=names,
                cbar_kws={"label": "change in points", "shrink": 0.8})
    for i, j in np.argwhere(p_values < 0.05) if p_values is not None else ():
        ax.add_patch(plt.Rectangle((j + 0.04, i + 0.04), 0.92, 0.92, fill=False, lw=1.8, ec="black", clip_on=False))
    ax.set(xlabel="predicted", ylabel="true")
    tidy_labels(ax, classes)
    return fig


def tidy_labels(ax, classes):
    """Remove grid and ticks of a matrix; turn its column names where they are long."""
    ax.grid(False)
    long = max(map(len, classes)) > 3
    ax.tick_params(axis="x", rotation=45 if long else 0, length=0)
    ax.tick_params(axis="y", rotation=0, length=0)


KINDS = {BASE: "real", FREE: "rival", SYNTHETIC: "synthetic", CONTROL: "control"}


def group(arm):
    """The group of an arm; of one that the registry lacks, such as an older result has, "others"."""
    return ARMS[arm].group if arm in ARMS else SYNTHETIC if arm.endswith("synthetic") else "others"


def accuracy_dots(arms):
    """A row for each arm: a dot for each network, a bar at their mean. arms: {name: (n,) percent}, top to bottom."""
    fig, ax = plt.subplots(figsize=(7.5, 0.55 * len(arms) + 0.9))
    rng = np.random.default_rng(0)
    for row, (name, values) in enumerate(arms.items()):
        values = np.asarray(values)
        colour = COLOURS[KINDS.get(group(name.removesuffix(", at its optimum")), "control")]
        ax.plot(values, row + rng.uniform(-0.12, 0.12, len(values)), "o", color=colour, alpha=0.65, ms=5, mew=0)
        ax.plot([values.mean()] * 2, [row - 0.3, row + 0.3], color=colour, lw=2.5)
        ax.annotate(f"{values.mean():.1f}", (values.max(), row), (7, 0), textcoords="offset points", va="center",
                    color=colour, fontsize=10)
    ax.set_yticks(range(len(arms)), [short(arm) for arm in arms])
    ax.set_ylim(len(arms) - 0.5, -0.5)
    ax.margins(x=0.08)
    ax.set_xlabel("test accuracy in percent")
    ax.grid(axis="y", visible=False)
    return fig


def accuracy_curves(curves):
    """Validation accuracy against updates: the mean over networks as a line, their range as a band.

    curves: {name: [(updates, (n,) percent), ...]}.
    """
    fig, ax = plt.subplots(figsize=(6.5, 3.2))
    colour = colours(list(curves))
    for name, points in curves.items():
        updates, values = [p[0] for p in points], np.array([p[1] for p in points])
        ax.plot(updates, values.mean(1), color=colour[name], lw=2, label=short(name))
        ax.fill_between(updates, values.min(1), values.max(1), color=colour[name], alpha=0.18, lw=0)
    ax.set(xlabel="updates", ylabel="validation accuracy in percent")
    ax.legend(loc="lower right")
    return fig


DOSES = (       # title, label of x, scale of x, {curve: its name}
    ("How many synthetic images?", "synthetic images for each real one", "linear", {"ratio": "real + synthetic"}),
    ("Which share of a batch?", "share of synthetic images in each batch", "linear", {"share": "real + synthetic"}),
    ("In place of how many real ones?", "images", "log", {
        "without": "real alone", "only": "synthetic alone", "with": "real, with all synthetic"}))


def dose_response(curves):
    """Mean accuracy with its interval, a chart for each of DOSES. curves: those of a Dose."""
    fig, axes = plt.subplots(1, len(DOSES), figsize=(4.1 * len(DOSES), 3.4), sharey=True)
    for ax, (title, xlabel, scale, names) in zip(axes, DOSES, strict=True):
        colour = colours(list(names.values()))
        for curve, name in names.items():
            c = curves[curves["curve"] == curve]
            ax.plot(c["x"], c["accuracy"], "o-", color=colour[name], lw=2, ms=5, label=name)
            ax.fill_between(c["x"], c["low"], c["high"], color=colour[name], alpha=0.18, lw=0)
        ax.set(title=title, xlabel=xlabel, xscale=scale)
        if scale == "log":                                  # matplotlib's own labels run into each other
            ax.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=StrMethodFormatter("{x:,.0f}"),
                         minor_formatter=NullFormatter())
        if len(names) > 1:
            ax.legend(loc="lower right")
    axes[0].set_ylabel("test accuracy in percent")
    return fig


def by_class_dots(table, columns, p=None, beside=None):
    """A chart of dots for each column, with a row for each class. table: DataFrame indexed by class.

    p: column of p-values; in the first chart a dot is filled where p < 0.05. beside: {column: a second column}, which
    is drawn as a hollow dot.
    """
    fig, axes = plt.subplots(1, len(columns), figsize=(3.2 * len(columns), 0.32 * len(table) + 1.1), sharey=True)
    rows = np.arange(len(table))
    for k, (ax, column) in enumerate(zip(axes, columns, strict=True)):
        colour = COLOURS["synthetic"] if k else COLOURS["linear"]
        filled = table[p] < 0.05 if p and not k else np.full(len(table), True)
        if beside and column in beside:
            ax.plot(table[beside[column]], rows, "o", color=COLOURS["real"], mfc="white", ms=6)
        ax.scatter(table[column], rows, s=40, zorder=3, edgecolors=colour,
                   facecolors=[colour if f else "white" for f in filled])
        if not k:
            ax.axvline(0, color="black", lw=0.8, ls=":")
        ax.set_xlabel(column)
    axes[0].set_yticks(rows, [short(c, 30) for c in table.index])
    axes[0].set_ylim(len(table) - 0.5, -0.5)
    return fig


def class_bars(values, classes, ylabel):
    """Bars for each class, one for each series. values: {series: (K,) percent}."""
    fig, ax = plt.subplots(figsize=(8, 2.8))
    colour, width = colours(list(values)), 0.8 / len(values)
    for i, (name, v) in enumerate(values.items()):
        ax.bar(np.arange(len(classes)) + (i - (len(values) - 1) / 2) * width, v, width * 0.92, color=colour[name],
               label=short(name))
    long = max(map(len, classes)) > 6
    ax.set_xticks(range(len(classes)), [short(c, 20) for c in classes], rotation=30 if long else 0)
    ax.set(ylabel=ylabel, ylim=(0, 104))
    ax.grid(axis="x", visible=False)
    if len(values) > 1:
        ax.legend(ncols=len(values), loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    return fig


def distance_histogram(distances):
    """Histograms of the distance to the nearest training image, with medians. distances: {name: (n,)}, grey levels."""
    fig, ax = plt.subplots(figsize=(6.5, 2.8))
    colour = colours(list(distances))
    edges = np.linspace(0, max(d.max() for d in distances.values()), 40)
    for name, d in distances.items():
        ax.hist(d, edges, density=True, histtype="stepfilled", alpha=0.35, color=colour[name], label=short(name))
        ax.axvline(np.median(d), color=colour[name], lw=2)
    ax.set(xlabel="distance to the nearest training image (root mean square, grey levels)", ylabel="density")
    ax.legend()
    return fig
