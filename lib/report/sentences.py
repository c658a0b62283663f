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
def of_planned(result):
    """'10', or '9 of 10' where replicates of a Study or Dose failed."""
    return f"{result.replicates}" + (f" of {result.planned}" if result.planned > result.replicates else "")


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
