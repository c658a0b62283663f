"""The forward process, its posterior and the training loss: the formulas of Ho et al. 2020 (arXiv 2006.11239).

x0, xt, eps: (B, C, H, W), x0 in [-1, 1], eps standard normal; t: (B,) int64 in 0..T-1, where t=0 is the paper's t=1.
"""
import torch
import torch.nn.functional as F


def extract(table, t, like):
    """table[t] as (B, 1, 1, 1) with the dtype and device of `like`; t = -1 is 'before the first step' nowhere.

    Raises IndexError if any t lies outside 0..T-1 (torch would read t=-1 as the last step).
    """
    if t.numel() and not 0 <= int(t.min()) <= int(t.max()) < len(table):
        raise IndexError(f"t from {int(t.min())} to {int(t.max())}: expected 0..{len(table) - 1}")
    return table.to(like.dtype).to(like.device)[t].view(-1, *[1] * (like.ndim - 1))


def q_sample(schedule, x0, t, eps):
    """Noise clean images to step t in one draw: x_t = sqrt(ac_t) x0 + sqrt(1 - ac_t) eps (eq. 4)."""
    ac = schedule.alphas_cumprod
    return extract(ac.sqrt(), t, x0) * x0 + extract((1 - ac).sqrt(), t, x0) * eps


def predict_x0(schedule, xt, t, eps):
    """The clean image that x_t and its noise imply: eq. 4 solved for x0 (the text above eq. 15)."""
    ac = schedule.alphas_cumprod
    return extract(ac.rsqrt(), t, xt) * xt - extract((1 / ac - 1).sqrt(), t, xt) * eps


def predict_eps(schedule, xt, t, x0):
    """The noise that x_t and its clean image imply: eq. 4 solved for eps."""
    ac = schedule.alphas_cumprod
    return (xt - extract(ac.sqrt(), t, xt) * x0) / extract((1 - ac).sqrt(), t, xt)


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


def eps_loss(model, schedule, x0, y, t, eps):
    """L_simple (eq. 14): the squared error of the predicted noise, averaged over pixels. Returns (B,)."""
    predicted = model(q_sample(schedule, x0, t, eps), t, y)
    return F.mse_loss(predicted, eps, reduction="none").flatten(1).mean(1)


def stratified_t(B, T, generator=None):
    """B steps, one from each B-th of 0..T-1 and so uniform, with less noise in the loss than free draws."""
    u = (torch.arange(B) + torch.rand(B, generator=generator)) / B
    return (u * T).long().clamp(max=T - 1)
