"""A result in sentences: pure functions, result -> Markdown."""

from lib.report.results import number, p_words
from lib.report.text import powers


# ---------------------------------------------------------------- schedules
def forward_process(schedules):
    """Alt text and caption of a digit that turns into noise: what signal each of the Schedules has left half way."""
    left = ", ".join(f"{s.name} {100 * s.alphas_cumprod[s.T // 2]:.2g} %" for s in schedules)
    return ("A digit turns into noise from left to right, in one row for each schedule.",
            f"The same digit and the same noise at growing shares of the steps. Signal left in the middle: {left}.")


SCHEDULE_FIGURES = {    # name: (alt text, caption)
    "closed_form": (
        "Line chart: the noise's standard deviation rises with the step; simulated dots beside lines.",
        "Noise after $t$ steps. Lines: $\\sqrt{1-\\bar\\alpha_t}$. Dots: pixels noised step by step."),
    "log_snr": (
        "Two charts of the best denoiser's squared error: a curve for each schedule against t/T, a single curve "
        "against log-SNR.",
        "The same error, left against $t/T$, right against $\\lambda_t$ (noise grows to the right in both), where the "
        "formula is one curve: do the simulated dots of both schedules lie on it?"),
    "schedule_curves": (
        "Three line charts over t/T: signal left, log-SNR, noise gain of a reverse step.",
        "Signal left, signal-to-noise ratio (dotted: as much noise as signal) and what a plain reverse step multiplies "
        "the predicted noise by, which the next section derives."),
    "way_back": (
        "A line chart for each schedule: standard deviation of x over the reverse steps, for two kinds of network, "
        "with and without clipping.",
        "The way back with an error of size $\\delta$ in each predicted noise; the right spread is 1."),
}


def clip(alphas_cumprod, schedule):
    """Nichol & Dhariwal's eq. 17 without a clip beside the cosine schedule's table with it. alphas_cumprod: (T,)"""
    off = (alphas_cumprod - schedule.alphas_cumprod)[:-1].abs().max()
    return powers(f"Eq. 17 against `lib` before the clip bites: largest difference {off:.1e}. At the last step eq. 17 "
                  f"gives {alphas_cumprod[-1]:.1e}, the clip leaves {schedule.alphas_cumprod[-1]:.2e}; clipped steps: "
                  f"{int((schedule.betas == 0.999).sum())}.")


def cosine_offset(offsets):
    """What study.theory.cosine_offsets says about s = 0.008."""
    exact = offsets["s that gives 1"]
    return (f"So $s=0.008$ is what the sentence asks for at $T=1000$ (the exact value would be {exact[1000]:.4f}). At "
            f"$T=4000$, the number of steps in most of that paper, the first step is "
            f"{offsets.loc[4000, 's = 0.008']:.2f} of a bin, and $s={exact[4000]:.3f}$ would be needed.")


def schedules(result):
    """What a Schedules result shows; where linear and cosine are among its schedules, what tells them apart."""
    outside = (result.checks["inside"] == "NO").sum()
    said = [f"Of the {len(result.checks)} simulated numbers on this page, {outside} lie outside the tolerance of four "
            "standard errors."]
    end, lost = result.ends["at the end"], result.ends["% of pixels lost"]
    if not {"linear", "cosine"} <= set(end.index.get_level_values(0)):
        return said[0]
    linear, cosine = result.facts.loc["linear"], result.facts.loc["cosine"]

    def ends(kind):
        return f"{number(end['cosine', kind], 2)} under cosine and {number(end['linear', kind], 2)} under linear"

    said += [
        f"Noise outweighs the image from step {linear['equal_noise_step']:.0f} of {result.T:,} under linear and from "
        f"step {cosine['equal_noise_step']:.0f} under cosine. Linear spends **{linear['redundant_steps']:.0f}** steps "
        f"where less than 1 % of the image's variance is left, cosine **{cosine['redundant_steps']:.0f}**: the "
        "original paper's argument for cosine.",
        f"But the first plain reverse step multiplies the predicted noise by **{cosine['first_noise_gain']:.3g}** "
        f"under cosine and by **{linear['first_noise_gain']:.2g}** under linear. With errors of {result.delta} in each "
        f"predicted noise, a network that saturates ends with a spread of {ends('saturates, plain')}, where 1 is "
        f"right; under cosine {lost['cosine', 'saturates, plain']:.2g} % of the pixels make it, which ran away. With "
        f"$\\hat x_0$ clipped it is {ends('saturates, x0 clipped')}; with a network that stays right for any input, "
        f"and no clip, {ends('stays right, plain')}.",
        "The gain is harmless while the network stays right for the inputs that the gain makes, and clipping bounds "
        "it in any case. This is one pixel with random errors, not a trained network; the plan `why-cosine` tests it "
        "with trained ones. Whether it is what happened in the original paper cannot be decided: it does not say "
        "whether its sampler clips."]
    return "\n\n".join(said)


# ---------------------------------------------------------------- training
DATASETS = {"cifar10": "CIFAR-10", "fashion_mnist": "Fashion-MNIST", "folder": "images of a folder"}


def dataset(config):
    """A training's data in words: 'digits on a 12x12 canvas'. config: mapping with dataset, canvas and size."""
    plain = "plain 8x8 digits" if config["canvas"] <= 8 else f"digits on a {config['canvas']}x{config['canvas']} canvas"
    words = DATASETS.get(config["dataset"], plain)
    return words + (f" at {config['size']}x{config['size']} pixels" if config["size"] else "")


def split(images):
    """How many images of a Split are learned from, and what they are."""
    channels, height, width = images.image_shape
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    said = (f"{len(images.train):,} training images of {len(images.classes)} classes, {kind}, {width} x {height} "
            "pixels. Of the test images only the last section makes use.")
    return " ".join([said, *images.notes])


def network(parameters, device):
    return f"A U-Net with {parameters / 1e6:.2f} million parameters, on {device}."


def loss(target, weight):
    """Caption of the training loss."""
    if (target, weight) == ("eps", "simple"):
        return "Training loss: 1 is a network that always answers 0."
    return f"Training loss, target {target}, weight {weight}."


def bound(result):
    """Caption of the bound's parts of a Training."""
    return (f"Where the bits are spent: {result.bits} in all, {result.bits_decoder:.2f} of them in $L_0$ and "
            f"{result.bits_prior:.4f} in $L_T$.")


def bits(result, published):
    """The bound of a Training beside published ones. published: {name: bits per dimension on CIFAR-10}."""
    others = ", ".join(f"{name} {value}" for name, value in published.items())
    return (f"{result.bits}, {result.bits.sample}. For comparison, published on CIFAR-10 at 32x32 pixels: {others}. "
            "Smaller images have less to predict a pixel from, and digits have 17 grey levels, so only runs on the "
            "same images compare.")


# ---------------------------------------------------------------- generation
MEMORISATION = {
    "copies": "Copies: {m.copies:,} of {m.images:,} images are training images",
    "too close": "Too close to training images, and to these only",
    "undecided": "Undecided: closer to training images than real ones are, but to unseen images too",
    "none found": "No sign of copies"}


def same_step(difference):
    return f"Largest difference to the sampler's own first step: {powers(f'{difference:g}')}."


def reverse_process(config, classes):
    """Alt text and caption of images that appear out of noise. config: of the generation; classes: how many."""
    return ("Images of some classes appear out of noise, from left to right.",
            f"The reverse process, one image of each of the first {classes} classes: {config.sample_steps} steps of "
            f"the {config.sampler} sampler, guidance {config.guidance:g}.")


def made_again(image, difference):
    return f"Image {image} made alone: largest difference {difference} of 255 grey levels."


def real_and_synthetic(classes, n):
    """Alt text and caption of the first n images of each class, real and synthetic."""
    return (f"Two sheets of images, a row for each of {classes} classes: left real ones, right synthetic ones.",
            f"Real images (left) and synthetic ones (right), the first {n} of each class, not chosen.")


def label_agreement(agreement, judge, accuracy):
    """Alt text and caption of the label agreement. agreement, accuracy: Estimates, of the synthetic images and of the
    judge."""
    return ("Bar chart: of each class, the percentage of synthetic images to which the judge gives it.",
            f"Label agreement: {agreement}, {agreement.sample}. Judge: {judge}, right on {accuracy} of the real images "
            "that it has not seen.")


def coverage(by_class, frechet, reference, encoder):
    """Alt text and caption of a Generation's coverage, with its Fréchet distance in the features of the network
    `encoder`."""
    mean, perfect = by_class["coverage"].mean(), by_class["coverage_perfect"].mean()
    return ("Bar chart: of each class, the share of real images that the synthetic ones cover, and what a perfect "
            "generator would cover.",
            f"Coverage of the real images of each class: {number(mean)} % on average, a perfect generator "
            f"{number(perfect)} %. Fréchet distance in {encoder}: {frechet}; between real images {reference} "
            f"({frechet.sample}).")


def memorisation(m):
    """A Memorisation in a sentence."""
    return (f"{MEMORISATION[m.verdict].format(m=m)}: {number(m.share)} % of the synthetic images lie closer to a "
            f"training image than {number(m.threshold)} grey levels; of new real ones {number(m.expected)} % would "
            f"({p_words(m.p)}). Copies would be found from {number(m.detectable)} % of the images on.")


GENERATION_FIGURES = {  # name: (alt text, caption)
    "nearest_distance": (
        "Histograms of the distance to the nearest training image, synthetic and real test images.",
        "Distance to the nearest training image; the vertical lines are medians."),
    "closest_pairs": (
        "Ten synthetic images, each between its nearest training image and its nearest test image.",
        "The ten synthetic images that lie closest to a training image: that image above, the nearest test image, "
        "which the network has never seen, below."),
}


# ---------------------------------------------------------------- study
def images_of_study(given, generations, seeds):
    """What a study works with. given: its Material; generations: {label: Generation}."""
    split, numbers = given.splits[0], sorted({len(images) for images in given.synthetic})
    each = " or ".join(f"{n:,}" for n in numbers)
    said = (f"{len(split.train):,} real training images, {len(split.validation):,} to choose on, {len(split.test):,} "
            f"to be judged on; {each} synthetic ones from each generator. ")
    said += (f"{given.replicates} replicates, each with a split, a generator and a classifier of its own."
             if given.replicates else f"{seeds} classifiers for each arm and generator.")
    lines = [f"- `{label}`: label agreement {g.label_agreement}, copies of training images: {g.memorisation.verdict}"
             for label, g in generations.items()]
    return "\n".join([said, "", *lines])


def of_planned(result):
    """'10', or '9 of 10' where replicates of a Study or Dose failed."""
    return f"{result.replicates}" + (f" of {result.planned}" if result.planned > result.replicates else "")


GENERAL = 5     # replicates from which on an interval speaks of all networks like these


def verb(gain):
    """What an Estimate of a gain lets one say: images 'raise', 'lower' or 'do not clearly change' the accuracy."""
    return "raise" if gain.above_zero else "lower" if gain.below_zero else "do not clearly change"


def study(result):
    """The answer of a Study, and what the original paper's comparison would have shown."""
    said = (f"At equal steps, synthetic images **{verb(result.gain)}** the test accuracy of the {result.classifier}: "
            f"{result.gain}, {p_words(result.gain.p)}.")
    if result.paper_gain:
        said += (f" The original paper's comparison, at equal epochs, would have shown {result.paper_gain}; of that, "
                 f"the additional steps alone make {result.steps_gain}.")
    if 0 < result.replicates < GENERAL:
        said += f" With fewer than {GENERAL} replicates this speaks of these networks and is no general verdict."
    if result.optimum_gain:
        said += f" With each arm at its own optimum, the gain is {result.optimum_gain}."
    if result.none:
        said += (f" That is none: it lies within the margin of {result.margin:g} points that was set beforehand "
                 f"({p_words(result.equivalence)}).")
    return said


def study_method(result):
    """What the intervals and p-values of a Study mean."""
    over = f"{result.test_images:,} test images"
    if result.replicates:
        over = (f"{of_planned(result)} replicates, each with a split, a generator, sampling noise and a classifier of "
                f"its own, and {over}")
    elif result.generators > 1:
        over = f"{result.generators} generators, {result.seeds} seeds and {over}"
    else:
        over = (f"{result.seeds} seeds and {over}; with one generator they speak of that generator and of no other")
    said = (f"Intervals hold 95 % and are taken over {over} (`lib.study.statistics`). A gain of "
            f"{result.detectable:.1f} points would be found in four of five such studies.")
    if result.contrasts:
        said += (f" *{result.rival}* is the classical augmentation that is best on validation images; the p-values of "
                 "its rows are corrected for their number (Holm).")
    return said


def rates(r):
    """How the gain changes with the learning rate: a RateChange; "" for None, where only one was tried."""
    if r is None:
        return ""
    return (f"At a learning rate of {r.low_rate:g} the synthetic images add {number(r.low_gain, signed=True)} points "
            f"on validation images, at {r.high_rate:g} {number(r.high_gain, signed=True)}: a change of {r.change}.")


def accuracies(result):
    """Alt text and caption of the dots of a Study's test accuracies."""
    more = f", with each of {result.generators} generators where they have a part" * (result.generators > 1)
    each = f"{of_planned(result)} replicates" if result.replicates else f"{result.seeds} seeds{more}"
    return ("Dot plot of test accuracy: one dot for each network and a bar at the mean, a row for each arm.",
            f"Test accuracy of each arm: a dot is a network ({each}), a bar the mean.")


STUDY_FIGURES = {       # name: (alt text, caption)
    "converged": (
        "Line chart: validation accuracy against optimiser steps, for real and for mixed training images.",
        "Converged? Validation accuracy while training, mean and range over all networks."),
    "confusion": (
        "Two confusion matrices side by side: trained on real images, and on real and synthetic images.",
        "Confusion matrices without and with synthetic images, one scale."),
    "confusion_difference": (
        "Confusion matrix of differences: blue cells grew, red cells shrank when synthetic images were added; "
        "significant ones have a frame.",
        "What synthetic images changed, in points: on the diagonal blue is good, elsewhere red is good. A frame: "
        "p < 0.05 of McNemar's tests of all pairs of networks, after Holm's correction over all cells."),
    "by_class": (
        "Three columns of dots, a row for each class: the change of recall, the label agreement and the coverage of "
        "its synthetic images.",
        "The change of each class's recall (filled: p < 0.05 after Holm) beside the label agreement and the coverage "
        "of its synthetic images (hollow: what a perfect generator would cover)."),
}


# ---------------------------------------------------------------- dose
def images_of_dose(given, synthetic, generations, seeds):
    """What a dose study works with. given: its Material; synthetic: the Images of a split; generations: {label:
    Generation}."""
    split = given.splits[0]
    said = (f"{len(split.train):,} real and {len(synthetic):,} synthetic images, {len(split.test):,} test images, "
            f"from {', '.join(f'`{label}`' for label in generations)}; ")
    return said + (f"{given.replicates} replicates, each with a split, a generator and a classifier of its own."
                   if given.replicates else f"{seeds} classifiers at each dose.")


def dose_figure(result):
    """Alt text and caption of the curves of a Dose."""
    over = f"{of_planned(result)} replicates" if result.replicates else f"{result.seeds} seeds"
    return ("Three line charts of test accuracy: against the number of synthetic images, against their share of a "
            "batch, and against the number of real or synthetic images.",
            "Dose and response, all at the same number of steps: mean and 95 % interval over "
            f"{over} and {result.test_images:,} test images.")


def dose(result):
    """The answers of a Dose: the best share of a batch and the exchange rate."""
    rates = "; ".join(f"{e.synthetic:,} synthetic images alone are as good as {result.worth(e)} real ones"
                      for e in result.exchange)
    over = (f"{of_planned(result)} replicates, each with its own generator and subset of real images, and "
            f"{result.test_images:,} test images" if result.replicates else
            f"{result.seeds} seeds and {result.test_images:,} test images, not over generators and subsets of real "
            "images")
    return (f"Best share of synthetic images in a batch, by validation: {result.best_share:g}. Exchange rate: {rates} "
            f"(in brackets: over {over}). Doses are exploratory: nothing about them was fixed before.")


# ---------------------------------------------------------------- ablation
ABLATION_FIGURES = {    # name: (alt text, caption)
    "losses": (
        "Two line charts, lines for each trained network: training loss, and squared error along the schedule.",
        "Training loss of every network, and where along the way its error is. Losses of different schedules do not "
        "compare: they weigh easy and hard steps differently."),
    "samples": (
        "Synthetic images, one row for each run; the columns go through the classes twice.",
        "Two images of each class from every run: same classes, same noise, not chosen by hand."),
    "limit": (
        "Dots with intervals: label agreement of each schedule and target, without and with clipped estimates.",
        "The same walk without and with a limit on the estimated image; Wilson's 95 % intervals, one trained network a "
        "row."),
}
LIMIT = {"survives": "The hypothesis survives", "does not survive": "The hypothesis does not survive",
         "undecided": "Label agreement does not decide it at this number of images"}


def limit(result):
    """Whether an estimate out of range ruins the walk of cosine with target eps, of an Ablation; "" if not asked."""
    if not result.limit:
        return ""
    walks = {(w.schedule, w.target): w for w in result.walks}
    suspect = walks.pop(("cosine", "eps"))
    others = "; ".join(f"to {schedule} with {target} {w.lost.bare}, {number(w.free_spread, 2)} times"
                       for (schedule, target), w in walks.items())
    return (f"{LIMIT[result.limit]}: clipping adds {suspect.lost} of label agreement to cosine with target eps, whose "
            f"pixels spread {number(suspect.free_spread, 2)} times as far as real ones without it; {others}.")
