"""The forward process, its posterior and the training loss: the formulas of Ho et al. 2020 (arXiv 2006.11239).

x0, xt, eps: (B, C, H, W), x0 in [-1, 1], eps standard normal; t: (B,) int64 in 0..T-1, where t=0 is the paper's t=1.
"""
import torch
import torch.nn.functional as F

from lib.diffusion import LOSS_WEIGHTS, known
from lib.diffusion.schedules import snr


def extract(table, t, like):
    """table[t] as (B, 1, 1, 1) with the dtype and device of `like`; t = -1 is 'before the first step' nowhere.

    Raises IndexError if any t lies outside 0..T-1 (torch would read t=-1 as the last step).
    """
    if t.numel() and not 0 <= int(t.min()) <= int(t.max()) < len(table):
        raise IndexError(f"t from {int(t.min())} to {int(t.max())}: expected 0..{len(table) - 1}")
    return table.to(like.dtype).to(t.device)[t].to(like.device).view(-1, *[1] * (like.ndim - 1))


def q_sample(schedule, x0, t, eps):
    """Noise clean images to step t in one draw: x_t = sqrt(ac_t) x0 + sqrt(1 - ac_t) eps (eq. 4)."""
    ac = schedule.alphas_cumprod
    return extract(ac.sqrt(), t, x0) * x0 + extract((1 - ac).sqrt(), t, x0) * eps


# What the network estimates: a x0 + b eps, with (a, b) a function of p = sqrt(ac_t) and q = sqrt(1 - ac_t).
# The three hold the same information: x_t = p x0 + q eps is known, so one of them gives the others.
TARGETS = {"eps": lambda p, q: (0 * p, 1 + 0 * q),       # Ho et al. 2020, eq. 14
           "x0": lambda p, q: (1 + 0 * p, 0 * q),        # ibid., section 3.2
           "v": lambda p, q: (-q, p)}                    # Salimans & Ho 2022 (arXiv 2202.00512), section 4


def coefficients(schedule, target, t, like):
    """p, q of x_t = p x0 + q eps, and a, b of the target a x0 + b eps; each (B, 1, 1, 1)."""
    known("target", target, TARGETS)
    p, q = schedule.alphas_cumprod.sqrt(), (1 - schedule.alphas_cumprod).sqrt()
    return [extract(table, t, like) for table in (p, q, *TARGETS[target](p, q))]


def make_target(schedule, target, x0, t, eps):
    """What the network is to answer for x_t = p x0 + q eps. InputError for an unknown target."""
    _, _, a, b = coefficients(schedule, target, t, x0)
    return a * x0 + b * eps


def predict_x0(schedule, xt, t, output, target="eps"):
    """The clean image that x_t and the network's answer imply: x0 = (b x_t - q output) / (b p - a q).

    For target eps this is eq. 4 solved for x0 (the text above eq. 15). Exact inverse of `make_target`.
    """
    p, q, a, b = coefficients(schedule, target, t, xt)
    return (b * xt - q * output) / (b * p - a * q)


def predict_eps(schedule, xt, t, output, target="x0"):
    """The noise that x_t and the network's answer imply: eps = (p output - a x_t) / (b p - a q)."""
    p, q, a, b = coefficients(schedule, target, t, xt)
    return (p * output - a * xt) / (b * p - a * q)


def q_posterior(ac_t, ac_s, x0, xt):
    """Mean and variance of q(x_s | x_t, x0) for a step s before t (eq. 6 and 7, where s = t-1).

    ac_t, ac_s: alphas_cumprod at t and s, floats or tensors that broadcast to x0; ac_s = 1 means s is the clean image.
    With alpha = ac_t / ac_s and beta = 1 - alpha this is the paper's formula; it holds for any pair of steps, because
    several steps of the forward process are one step with the product of their alphas.
    """
    alpha = ac_t / ac_s
    beta = 1 - alpha
    mean = (ac_s**0.5 * beta * x0 + alpha**0.5 * (1 - ac_s) * xt) / (1 - ac_t)
    return mean, beta * (1 - ac_s) / (1 - ac_t)


def denoising_loss(model, schedule, x0, y, t, eps, target="eps"):
    """Squared error of the network's answer, averaged over pixels: (B,). L_simple (eq. 14) for target eps.

    t may lie on the CPU while the images are on a GPU: then no step waits for the GPU to tell t's range.
    """
    output = model(q_sample(schedule, x0, t, eps), t.to(x0.device), y)
    return F.mse_loss(output, make_target(schedule, target, x0, t, eps), reduction="none").flatten(1).mean(1)


def loss_weights(schedule, target, weight):
    """Factor of `denoising_loss` at each t, (T,) float64. InputError for an unknown target or weight.

    simple   1 (Ho et al. 2020, eq. 14)
    min-snr  min(SNR, 5) on the error of x0 (Hang et al. 2023, arXiv 2303.09556)
    vlb      the variational bound's (SNR_{t-1} - SNR_t) / 2 on the error of x0 (Kingma et al. 2021, eq. 13), at t=0
             1 / (2 beta_0); divided by its mean over t, so that a learning rate keeps its meaning

    An error of x0 is 1/SNR times that of eps and 1/(SNR + 1) times that of v, as squares. Variances are not learned
    (Nichol & Dhariwal 2021): that buys bits/dim and shorter ancestral walks for twice the outputs and a second loss;
    here DDIM and DPM-Solver++ take the short walks, and a study of classifiers asks for images.
    """
    known("target", target, TARGETS)
    ratio = snr(schedule)
    x0_over_target = {"eps": 1 / ratio, "x0": torch.ones_like(ratio), "v": 1 / (ratio + 1)}[target]
    if known("loss_weight", weight, LOSS_WEIGHTS) == "simple":
        return torch.ones_like(ratio)
    if weight == "min-snr":
        return ratio.clamp(max=5) * x0_over_target
    bound = torch.cat([0.5 / schedule.betas[:1], (ratio[:-1] - ratio[1:]) / 2]) * x0_over_target
    return bound / bound.mean()


def stratified_t(B, T, generator=None):
    """B steps, one from each B-th of 0..T-1 and so uniform, with less noise in the loss than free draws."""
    u = (torch.arange(B) + torch.rand(B, generator=generator)) / B
    return (u * T).long().clamp(max=T - 1)
