"""A result in sentences: pure functions, result -> Markdown."""
from lib.report.results import number


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
    end = result.ends["at the end"]
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
        f"right. With $\\hat x_0$ clipped it is {ends('saturates, x0 clipped')}; with a network that stays right for "
        f"any input, and no clip, {ends('stays right, plain')}.",
        "The gain is harmless while the network stays right for the inputs that the gain makes, and clipping bounds "
        "it in any case. This is one pixel with random errors, not a trained network; the plan `why-cosine` tests it "
        "with trained ones. Whether it is what happened in the original paper cannot be decided: it does not say "
        "whether its sampler clips."]
    return "\n\n".join(said)



# ---------------------------------------------------------------- training

# ---------------------------------------------------------------- generation

# ---------------------------------------------------------------- study

# ---------------------------------------------------------------- dose

# ---------------------------------------------------------------- ablation

# ---------------------------------------------------------------- report
