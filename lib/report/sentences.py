"""A result in sentences: pure functions, result -> Markdown."""
from lib.report.results import number, p_words


# ---------------------------------------------------------------- schedules
def forward_process(schedules):
    """Caption of a digit that turns into noise: the signal that each of the Schedules has left half way."""
    left = ", ".join(f"{s.name} {100 * s.alphas_cumprod[s.T // 2]:.2g} %" for s in schedules)
    return f"The same digit and the same noise at growing shares of the steps. Signal left in the middle: {left}."


def clip(alphas_cumprod, schedule):
    """Nichol & Dhariwal's eq. 17 without a clip beside the cosine schedule's table with it. alphas_cumprod: (T,)"""
    off = (alphas_cumprod - schedule.alphas_cumprod)[:-1].abs().max()
    return (f"Eq. 17 against `lib` before the clip bites: largest difference {off:.1e}. At the last step eq. 17 gives "
            f"{alphas_cumprod[-1]:.1e}, the clip leaves {schedule.alphas_cumprod[-1]:.2e}; clipped steps: "
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
    return (f"{len(images.train):,} training images of {len(images.classes)} classes, {kind}, {width} x {height} "
            "pixels. Of the test images only the last section makes use.")


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
    return f"Largest difference to the sampler's own first step: {difference:g}."


def reverse_process(config, classes):
    """Caption of images that appear out of noise. config: of the generation; classes: how many are shown."""
    return (f"The reverse process, one image of each of the first {classes} classes: {config.sample_steps} steps of "
            f"the {config.sampler} sampler, guidance {config.guidance:g}.")


def made_again(image, difference):
    return f"Image {image} made alone: largest difference {difference} of 255 grey levels."


def label_agreement(agreement, judge, accuracy):
    """Caption of the label agreement. agreement, accuracy: Estimates, of the synthetic images and of the judge."""
    return (f"Label agreement: {agreement}, {agreement.sample}. Judge: {judge}, right on {accuracy} of the real images "
            "that it has not seen.")


def coverage(by_class, frechet, reference, encoder):
    """Caption of a Generation's coverage, with its Fréchet distance in the features of the network `encoder`."""
    mean, perfect = by_class["coverage"].mean(), by_class["coverage_perfect"].mean()
    return (f"Coverage of the real images of each class: {number(mean)} % on average, a perfect generator "
            f"{number(perfect)} %. Fréchet distance in {encoder}: {frechet}; between real images {reference} "
            f"({frechet.sample}).")


def memorisation(m):
    """A Memorisation in a sentence."""
    return (f"{MEMORISATION[m.verdict].format(m=m)}: {number(m.share)} % of the synthetic images lie closer to a "
            f"training image than {number(m.threshold)} grey levels; of new real ones {number(m.expected)} % would "
            f"({p_words(m.p)}). Copies would be found from {number(m.detectable)} % of the images on.")


# ---------------------------------------------------------------- study

# ---------------------------------------------------------------- dose

# ---------------------------------------------------------------- ablation

# ---------------------------------------------------------------- report
