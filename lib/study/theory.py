"""Schedules in numbers, and the smallest image there is: one pixel, -1 or +1 with equal chances.

The pixel's best denoiser is known, so what a schedule does to training and sampling can be computed without a network.
Tensors are float64. Tables are DataFrames of numbers; lib.report.tables makes text of them.
"""
import functools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq

from lib.diffusion import schedules as sch
from lib.diffusion.process import predict_eps, predict_x0, q_posterior

KINDS = ("stays right, plain", "stays right, x0 clipped", "saturates, plain", "saturates, x0 clipped")


# ---------------------------------------------------------------- the pixel's best denoiser
def best_estimate(ac, xt):
    """E[x0 | x_t] of the pixel: tanh(sqrt(ac) x_t / (1 - ac)), for alphas_cumprod = ac."""
    return torch.tanh(ac.sqrt() * xt / (1 - ac))


@functools.cache
def _errors():
    """(log-SNR, E error^2, E error^4) of the best denoiser on a grid, by integrals over the noise z."""
    z = torch.linspace(-20, 20, 2001, dtype=torch.float64)
    weight = torch.softmax(-z**2 / 2, 0)
    axis = torch.linspace(-45, 20, 2601, dtype=torch.float64)
    off = 1 - torch.tanh(axis.exp()[:, None] + (axis / 2).exp()[:, None] * z)       # of the pixel +1
    return axis, off @ weight, off**4 @ weight                                      # E tanh = E tanh^2


def best_error(log_snr):
    """Mean squared error of the best denoiser, 1 - E tanh(SNR + sqrt(SNR) z). Any shape."""
    axis, squared, _ = _errors()
    return torch.as_tensor(np.interp(log_snr, axis, squared))


def best_error_spread(log_snr):
    """Root mean square of its squared error: at least that one's standard deviation. Any shape."""
    axis, _, fourth = _errors()
    return torch.as_tensor(np.interp(log_snr, axis, fourth)).sqrt()


def bits_per_step(schedule):
    """What each step but the first adds to the pixel's variational bound, in bits (Kingma et al. 2021, eq. 13). (T-1,)

    Their sum tends to 1 bit, the pixel's information, as T grows and the ends move apart.
    """
    ratio = sch.snr(schedule)
    return 0.5 * (ratio[:-1] - ratio[1:]) * best_error(sch.log_snr(schedule)[1:]) / math.log(2)


# ---------------------------------------------------------------- a network that is a little wrong
def first_step_errors(schedule, delta, normals, n):
    """What an error of standard deviation `delta` in the network's answer does to the first reverse step: n draws each.

    normals(*shape) draws standard normal numbers. Returns {estimate: of x0, plain: of the step, clipped: of the step
    with x0 clipped, v: of the step where the answer is v}, by the functions that the sampler uses.
    """
    ac, before = schedule.alphas_cumprod[-1], schedule.alphas_cumprod_prev[-1]
    xt, error, t = normals(n, 1, 1, 1), delta * normals(n, 1, 1, 1), torch.full((n,), schedule.T - 1)
    right = best_estimate(ac, xt)
    wrong = {target: predict_x0(schedule, xt, t, answer + error, target) for target, answer in (
        ("eps", predict_eps(schedule, xt, t, right)),
        ("v", ac.sqrt() * predict_eps(schedule, xt, t, right) - (1 - ac).sqrt() * right))}

    def step(x0):
        return (q_posterior(ac, before, x0, xt)[0] - q_posterior(ac, before, right, xt)[0]).flatten()

    return {"estimate": (wrong["eps"] - right).flatten(), "plain": step(wrong["eps"]),
            "clipped": step(wrong["eps"].clamp(-1, 1)), "v": step(wrong["v"])}


class WayBack(NamedTuple):
    """spreads: {network and sampler: standard deviation of x after each of the T reverse steps}; 1 is right. lost:
    percent of the pixels that end farther than 2 from 0, where +1 and -1 are right: a few of these make a spread."""

    spreads: dict
    lost: dict


def way_back(schedule, delta, normals, members=4000):
    """The whole WayBack of `members` pixels for each of KINDS.

    The network is the best denoiser, wrong by fresh noise of size `delta` in each predicted noise. One that saturates
    never answers with more than 4.
    """
    x, spreads = normals(len(KINDS), members), []
    for step in reversed(range(schedule.T)):
        ac, before = schedule.alphas_cumprod[step], schedule.alphas_cumprod_prev[step]
        eps = (x - ac.sqrt() * best_estimate(ac, x)) / (1 - ac).sqrt() + delta * normals(*x.shape)
        eps[2:] = eps[2:].clamp(-4, 4)
        x0 = (x - (1 - ac).sqrt() * eps) / ac.sqrt()                                # Ho et al. 2020, eq. 15
        x0[1::2] = x0[1::2].clamp(-1, 1)
        mean, variance = q_posterior(ac, before, x0, x)
        x = mean + variance.sqrt() * normals(*x.shape)
        spreads.append(x.std(1))
    lost = 100 * (x.abs() > 2).double().mean(1)
    return WayBack(dict(zip(KINDS, torch.stack(spreads, 1).tolist(), strict=True)),
                   dict(zip(KINDS, lost.tolist(), strict=True)))


# ---------------------------------------------------------------- tables of numbers
def by_schedule(rows):
    """DataFrame of {schedule: {column: number}}."""
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("schedule")


def posteriors(ways):
    """A row for each schedule and way to its posterior. ways: {(schedule, way): (mean, variance)}."""
    index = pd.MultiIndex.from_tuples(ways, names=["schedule", "way"])
    return pd.DataFrame([list(map(float, pair)) for pair in ways.values()], index, columns=["mean", "variance"])


def facts(schedules):
    """A row for each of the Schedules: what is left of the image, and what a mistake costs, at the two ends."""
    return by_schedule({s.name: {
        "signal_at_T": s.alphas_cumprod[-1].item(),
        "log_snr_first": sch.log_snr(s)[0].item(),
        "log_snr_last": sch.log_snr(s)[-1].item(),
        "prior_kl_bits": sch.prior_kl(s),
        "redundant_steps": sch.redundant_steps(s),
        "equal_noise_step": int((sch.snr(s) >= 1).sum()),
        "first_noise_gain": sch.noise_gain(s)[-1].item(),
        "largest_noise_gain": sch.noise_gain(s).max().item(),
        "largest_gain_at": int(sch.noise_gain(s).argmax()),
    } for s in schedules})


def bounds_in_bits(names, T):
    """The bound of the pixel in bits at T and at 4T steps, beside its limit, and the ends that it lies between."""
    rows = {}
    for name in names:
        s, finer = sch.make_schedule(name, T), sch.make_schedule(name, 4 * T)
        rows[name] = {f"bits, T = {T:,}": bits_per_step(s).sum().item(),
                      f"bits, T = {4 * T:,}": bits_per_step(finer).sum().item(), "bits, the integral": 1.0,
                      "log-SNR, first step": sch.log_snr(s)[0].item(), "last step": sch.log_snr(s)[-1].item()}
    return by_schedule(rows)


def redundant(schedules):
    """How many steps see almost no image or almost no noise, and what is learned in the former."""
    rows = {}
    for s in schedules:
        few, learned = s.alphas_cumprod < 0.01, bits_per_step(s)
        rows[s.name] = {"steps under 1 % signal": int(few.sum()), "% of the steps": 100 * few.double().mean().item(),
                        "% of the bits": 100 * (learned[few[1:]].sum() / learned.sum()).item(),
                        "steps over 99 % signal": int((s.alphas_cumprod > 0.99).sum())}
    return by_schedule(rows)


def cosine_offsets(Ts, offsets):
    """The cosine schedule's first noise sqrt(beta_1) in pixel bins of 1/127.5 at some offsets s, and the s of one bin.

    Nichol & Dhariwal 2021, section 3.2, ask for slightly less than one bin. A row for each T.
    """
    def bins(T, s):
        return 127.5 * float(sch.cosine_betas(T, s)[0]) ** 0.5

    rows = {T: {f"s = {s:g}": bins(T, s) for s in offsets}
            | {"s that gives 1": brentq(lambda s, T=T: bins(T, s) - 1, 0, 0.5)} for T in Ts}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("T")


def clipped_gains(betas, clips=(0.9, 0.99, 0.999, 0.9999)):
    """The last noise gain of a schedule whose betas (T,) are clipped at c, beside c / sqrt(1 - c)."""
    rows = {c: {"c / sqrt(1 - c)": c / (1 - c) ** 0.5,
                "noise gain": sch.noise_gain(sch.from_betas("clipped", betas.clamp(max=c)))[-1].item()} for c in clips}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("clip c")


def first_steps(schedules, wrong):
    """The first reverse step of each schedule. wrong: {name: `first_step_errors`}."""
    rows = {}
    for s in schedules:
        ac, before, gain = s.alphas_cumprod[-1], s.alphas_cumprod_prev[-1], sch.noise_gain(s)[-1]
        error = wrong[s.name]
        rows[s.name] = {"noise gain": gain.item(), "the same for v": (gain * ac.sqrt()).item(),
                        "error of the step, plain": error["plain"].std().item(),
                        "clipped": error["clipped"].std().item(),
                        "its largest": error["clipped"].abs().max().item(),
                        "bound": (2 * before.sqrt() * s.betas[-1] / (1 - ac)).item()}
    return by_schedule(rows)


def ends(walks):
    """(schedule, network and sampler): the spread after one step, its largest and its last value, where 1 is right; and
    the percent of lost pixels. walks: {schedule: `WayBack`}."""
    rows = {(name, kind): {"after one step": values[0], "largest": max(values), "at the end": values[-1],
                           "% of pixels lost": walk.lost[kind]}
            for name, walk in walks.items() for kind, values in walk.spreads.items()}
    index = pd.MultiIndex.from_tuples(rows, names=["schedule", "network and sampler"])
    return pd.DataFrame(list(rows.values()), index=index)


def prior_costs(schedules, x0_squared):
    """L_T in bits per pixel: the formula beside the integral of q log(q / p) for x0 = 1, and for a mean square."""
    grid, rows = torch.linspace(-12, 12, 400_001, dtype=torch.float64), {}
    for s in schedules:
        ac = s.alphas_cumprod[-1]
        q = torch.distributions.Normal(ac.sqrt(), (1 - ac).sqrt())
        log_ratio = q.log_prob(grid) + grid**2 / 2 + math.log(2 * math.pi) / 2
        rows[s.name] = {"signal left at T": ac.item(), "formula": sch.prior_kl(s),
                        "integral": (torch.trapezoid(q.log_prob(grid).exp() * log_ratio, grid) / math.log(2)).item(),
                        f"digits, mean square {x0_squared:.2f}": sch.prior_kl(s, x0_squared)}
    return by_schedule(rows)
