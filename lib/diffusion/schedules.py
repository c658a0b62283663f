"""Noise schedules: how much of an image is left after t steps of noising.

Index t = 0..T-1 here is the papers' t = 1..T. Tables are float64: at T=1000 a float32 cumulative product is off by
1e-5 of alphas_cumprod for the cosine schedule. They are cast once, where they meet an image.
"""
import dataclasses
import math

import torch

from lib import InputError
from lib.diffusion import known


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Tables of length T (float64, on the CPU), named as in Ho et al. 2020.

    betas                variance of the noise that step t adds
    alphas_cumprod       share of the image's variance that is left after step t: q(x_t|x_0) = N(sqrt(ac) x_0, (1-ac) I)
    alphas_cumprod_prev  the same one step earlier; 1 at t=0
    posterior_variance   variance of q(x_{t-1}|x_t,x_0), eq. 7; 0 at t=0
    """

    name: str
    betas: torch.Tensor
    alphas: torch.Tensor
    alphas_cumprod: torch.Tensor
    alphas_cumprod_prev: torch.Tensor
    posterior_variance: torch.Tensor

    @property
    def T(self):
        return len(self.betas)


def linear_betas(T):
    """Ho et al. 2020, section 4: from 1e-4 to 0.02 in equal steps at T=1000.

    At another T both ends are scaled by 1000/T, as in OpenAI's improved-diffusion, so that x_T is noise for any T
    (unscaled, T=100 would leave 36 % of the variance in x_T). Returns (T,) in (0, 1).
    """
    return (1000 / T * torch.linspace(1e-4, 0.02, T, dtype=torch.float64)).clamp(max=0.999)


def cosine_betas(T, s=0.008):
    """Nichol & Dhariwal 2021, eq. 17: alphas_cumprod = f(t)/f(0), f(t) = cos^2((t/T + s)/(1 + s) pi/2).

    Betas are clipped at 0.999, as they do below their eq. 17: the last one would be 1. Returns (T,) in (0, 1).
    """
    u = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


def linear_unscaled_betas(T):
    """Ho et al. 2020's betas, 1e-4 to 0.02 for any T, as in diffusers: T=100 leaves 36 % of the variance in x_T."""
    return torch.linspace(1e-4, 0.02, T, dtype=torch.float64)


def quadratic_betas(T):
    """The "quad" of Ho et al.'s code: the square roots of the betas rise in equal steps between linear's ends."""
    low, high = 1000 / T * 1e-4, min(1000 / T * 0.02, 0.999)
    return torch.linspace(low**0.5, high**0.5, T, dtype=torch.float64) ** 2


def sigmoid_betas(T, start=-3.0, end=3.0):
    """Jabri, Fleet & Chen 2022 (arXiv 2212.11972), algorithm 1 with tau = 1: alphas_cumprod falls as a sigmoid.

    Betas are clipped at 0.999: the last one would be 1.
    """
    u = torch.arange(T + 1, dtype=torch.float64) / T
    low, high = torch.sigmoid(torch.tensor([start, end], dtype=torch.float64))
    f = (high - torch.sigmoid(start + u * (end - start))) / (high - low)
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


SCHEDULES = {"linear": linear_betas, "cosine": cosine_betas, "sigmoid": sigmoid_betas, "quadratic": quadratic_betas,
             "linear-unscaled": linear_unscaled_betas}


def make_schedule(name, T):
    """The schedule called `name` with T steps. InputError for another name or T < 2."""
    known("schedule", name, SCHEDULES)
    if T < 2:
        raise InputError(f"T={T}: expected at least 2 diffusion steps")
    return from_betas(name, SCHEDULES[name](T))


def from_betas(name, betas):
    """A schedule from any betas (T,), each in (0, 1)."""
    if not bool(((betas > 0) & (betas < 1)).all()):
        raise InputError(f"betas from {betas.min():.4g} to {betas.max():.4g}: expected each between 0 and 1, exclusive")
    alphas = 1 - betas.double()
    cumprod = alphas.cumprod(0)
    prev = torch.cat([torch.ones(1, dtype=torch.float64), cumprod[:-1]])
    return Schedule(name, betas.double(), alphas, cumprod, prev, betas.double() * (1 - prev) / (1 - cumprod))


def snr(schedule):
    """Signal-to-noise ratio alphas_cumprod / (1 - alphas_cumprod) of x_t, for data of unit variance. (T,)"""
    return schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)


def log_snr(schedule):
    """Natural logarithm of the signal-to-noise ratio, the lambda of VDM and (halved) of DPM-Solver. (T,)"""
    return snr(schedule).log()


def prior_kl(schedule, x0_squared=1.0):
    """KL(q(x_T|x_0) || N(0, I)) in bits per dimension, Ho et al. 2020's L_T, for pixels with x0^2 = `x0_squared`.

    What the sampler's start from pure noise costs: the signal that is left at T.
    """
    ac = schedule.alphas_cumprod[-1].item()
    return 0.5 * (ac * x0_squared - ac - math.log1p(-ac)) / math.log(2)


def redundant_steps(schedule, signal=0.01):
    """How many of the T steps see less than `signal` of the image's variance: almost the same pure noise again."""
    return int((schedule.alphas_cumprod < signal).sum())


def noise_gain(schedule):
    """What the plain reverse step (Ho et al. 2020, eq. 11) multiplies the predicted noise by. (T,)

    beta_t / sqrt(1 - ac_t) / sqrt(alpha_t): 0.02 at the linear schedule's first reverse step and 31.6 at the cosine
    schedule's, where a small error of the network becomes a large error of the image unless x0 is clipped.
    """
    return schedule.betas / (1 - schedule.alphas_cumprod).sqrt() / schedule.alphas.sqrt()
