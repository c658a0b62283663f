"""How many bits a pixel costs: the variational bound on the negative log-likelihood (Ho et al. 2020, eq. 5).

    -log p(x0 | y) <= L_T + sum over t of L_t + L_0

L_T is the cost of starting from pure noise, L_t the KL divergence of a reverse step from the true posterior, L_0 the
cost of the pixel's value. Images are 256 discrete values, so nothing is dequantised: L_0 is the probability that the
last Gaussian puts on the pixel's own bin of width 2/255, the outer two bins open (ibid., eq. 13).
"""
import dataclasses
import math

import torch

from lib import InputError
from lib.data.images import to_float
from lib.diffusion.process import extract, predict_x0, q_sample
from lib.diffusion.samplers import ImageNoise, check_trained, limit_x0
from lib.diffusion.schedules import prior_kl, snr

# CIFAR-10, unconditional. Ho et al. 2020, table 1; Nichol & Dhariwal 2021, table 2; Kingma et al. 2021, table 1.
PUBLISHED = {"DDPM": 3.75, "improved DDPM": 2.94, "VDM": 2.64}


@dataclasses.dataclass(frozen=True)
class Bound:
    """bits per dimension (a dimension is one pixel of one channel): mean over n images, and half of its 95 % interval.

    prior, decoder: L_T and L_0; by_t: (t, bits of one step there), a mean over images for each part of 1..T-1.
    """

    bits: float
    half: float
    n: int
    prior: float
    decoder: float
    by_t: list


def bin_log_probability(x0, mean, deviation):
    """log of the Gaussian's probability of each pixel's bin; x0 a multiple of 2/255 in [-1, 1]. Same shape as x0."""
    normal = torch.distributions.Normal(mean.double(), deviation)
    upper = torch.where(x0 > 0.999, 1.0, normal.cdf(x0.double() + 1 / 255))
    lower = torch.where(x0 < -0.999, 0.0, normal.cdf(x0.double() - 1 / 255))
    return (upper - lower).clamp(min=1e-12).log()


@torch.no_grad()
def bits_per_dim(model, schedule, images, labels, *, target="eps", draws=100, x0_handling="clip", seed=0, batch=500):
    """The bound for `images` (N, C, H, W) uint8 given their `labels`.

    Yields {done} as it goes, counted in evaluated images, and at the end {done, bound: Bound}.

    For each image the steps 1..T-1 are cut into `draws` parts and one random step of each part is evaluated, so the sum
    is unbiased. The reverse steps have the posterior's variance, the last one beta_0: its posterior has none, and for a
    network that leaves the noise of x_1 in its estimate beta_0 is right. Any choice gives a bound.
    InputError for fewer than 2 images or draws, or another schedule or target than the model was trained with.
    """
    if len(images) < 2 or draws < 2:
        raise InputError(f"{len(images)} images and {draws} draws: expected at least 2 of each")
    check_trained(model, schedule, target)
    device = labels.device if not isinstance(model, torch.nn.Module) else next(model.parameters()).device
    ratio = snr(schedule)
    half_drop = torch.cat([torch.zeros(1, dtype=torch.float64), (ratio[:-1] - ratio[1:]) / 2])
    edges = torch.linspace(1, schedule.T, min(draws, schedule.T - 1) + 1).round().long()
    last_deviation = schedule.betas[0].sqrt().item()
    per_image, priors, decoder, parts = [], [], [], []
    for first in range(0, len(images), batch):
        x0, y = to_float(images[first:first + batch]).to(device), labels[first:first + batch].to(device)
        noise = ImageNoise(seed, range(first, first + len(x0)), x0.shape[1:])
        uniform = torch.rand(len(x0), len(edges) - 1, generator=torch.Generator().manual_seed(seed + first))

        def estimate(t, x0=x0, y=y, noise=noise):
            eps = noise().to(x0)
            xt = q_sample(schedule, x0, t, eps)
            return limit_x0(predict_x0(schedule, xt, t, model(xt, t, y), target), x0_handling)

        zero = torch.zeros(len(x0), dtype=torch.long, device=device)
        end = -bin_log_probability(x0, estimate(zero), last_deviation).flatten(1).mean(1)
        bits = []
        for k, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
            t = (low + (uniform[:, k] * (high - low)).long()).to(device)
            error = (x0 - estimate(t)).double().square().flatten(1).mean(1)
            bits.append(error * extract(half_drop, t, error[:, None]).flatten() / math.log(2))
            yield {"done": first * (len(edges) - 1) + (k + 1) * len(x0)}
        bits = torch.stack(bits, 1).cpu()                                      # (b, parts), of one step each
        priors.append(torch.tensor([prior_kl(schedule, s) for s in x0.square().flatten(1).mean(1).tolist()]))
        decoder.append(end.cpu() / math.log(2))
        parts.append(bits)
        per_image.append(priors[-1] + decoder[-1] + (bits * edges.diff()).sum(1))
    total, decoder, parts = torch.cat(per_image), torch.cat(decoder), torch.cat(parts)
    middle = ((edges[:-1] + edges[1:] - 1) / 2).tolist()
    bound = Bound(bits=total.mean().item(), half=1.96 * total.std().item() / len(total) ** 0.5, n=len(total),
                  prior=torch.cat(priors).mean().item(), decoder=decoder.mean().item(),
                  by_t=list(zip(middle, parts.mean(0).tolist(), strict=True)))
    yield {"done": len(total) * (len(edges) - 1), "bound": bound}
