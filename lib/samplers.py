"""Reverse processes: from noise to images of chosen classes.

Every sampler is a generator `sampler(predict, ac, times, x, noise)`. predict(x, t) estimates the clean image; ac is the
list of alphas_cumprod with ac[-1] = 1, the clean image; times are the visited steps from T-1 down to 0; noise() is one
draw of fresh noise. It yields (t, x, x0) after each step, x being at the next time already. Image i of a run depends
only on (seed, i), never on the batch it was made in.
"""
import math
import time

import numpy as np
import torch

from lib import InputError
from lib.diffusion import predict_x0, q_posterior


def ancestral_step(ac_t, ac_s, x, x0, noise):
    """Draw from q(x_s | x_t, x0) with the estimated x0: Ho et al. 2020, algorithm 2 with sigma^2 of eq. 7."""
    mean, variance = q_posterior(ac_t, ac_s, x0, x)
    return mean + variance**0.5 * noise


def ddim_step(ac_t, ac_s, x, x0, noise):
    """Song, Meng & Ermon 2021 (arXiv 2010.02502), eq. 12 with eta = 0: deterministic, no draw."""
    eps = (x - ac_t**0.5 * x0) / (1 - ac_t) ** 0.5
    return ac_s**0.5 * x0 + (1 - ac_s) ** 0.5 * eps


def walk(step):
    """The sampler that takes one `step(ac_t, ac_s, x, x0, noise)` from each time t to the next one s."""
    def sampler(predict, ac, times, x, noise):
        for t, s in zip(times, times[1:] + [-1], strict=True):
            x0 = predict(x, t)
            x = step(ac[t], ac[s], x, x0, noise().to(x) if s >= 0 else 0.0)
            yield t, x, x0
    return sampler


def half_log_snr(ac):
    """lambda = log(sqrt(ac) / sqrt(1 - ac)), the time of DPM-Solver (Lu et al. 2022)."""
    return 0.5 * (math.log(ac) - math.log1p(-ac))


def dpmpp_2m(predict, ac, times, x, noise):
    """DPM-Solver++(2M): Lu et al. 2022 (arXiv 2211.01095), algorithm 2. Second order, one network call a step.

    The first step and the last one, which ends at infinite lambda, are of first order.
    """
    x0_before = h_before = None
    for t, s in zip(times, times[1:] + [-1], strict=True):
        x0 = predict(x, t)
        if s < 0:
            x = x0
        else:
            h = half_log_snr(ac[s]) - half_log_snr(ac[t])
            d = x0 if x0_before is None else x0 + (x0 - x0_before) * h / (2 * h_before)
            x = ((1 - ac[s]) / (1 - ac[t])) ** 0.5 * x - ac[s] ** 0.5 * math.expm1(-h) * d
            x0_before, h_before = x0, h
        yield t, x, x0


def heun(predict, ac, times, x, noise):
    """Heun's method on the probability-flow ODE: Karras et al. 2022 (arXiv 2206.00364), algorithm 1.

    In their variables z = x / sqrt(ac), the image plus noise of deviation sigma, has the slope (z - x0) / sigma.
    Second order, two network calls a step (one in the last).
    """
    def sigma(t):
        return ((1 - ac[t]) / ac[t]) ** 0.5

    for t, s in zip(times, times[1:] + [-1], strict=True):
        x0, z = predict(x, t), x / ac[t] ** 0.5
        slope = (z - x0) / sigma(t)
        z_next = z + (sigma(s) - sigma(t)) * slope
        if s >= 0:
            slope_next = (z_next - predict(z_next * ac[s] ** 0.5, s)) / sigma(s)
            z_next = z + (sigma(s) - sigma(t)) * (slope + slope_next) / 2
        x = z_next * ac[s] ** 0.5
        yield t, x, x0


SAMPLERS = {"ancestral": walk(ancestral_step), "ddim": walk(ddim_step), "dpm++2m": dpmpp_2m, "heun": heun}


def timesteps(T, steps):
    """`steps` times from T-1 down to 0, evenly spaced (both ends are visited). InputError unless 1 <= steps <= T."""
    if not 1 <= steps <= T:
        raise InputError(f"sample_steps={steps}: expected 1 to T={T}")
    return np.linspace(T - 1, 0, steps).round().astype(int).tolist()


def guided(model, guidance, null_label):
    """Classifier-free guidance: eps_null + guidance * (eps_y - eps_null), in one batched call of the network.

    guidance 1 is the conditional model and 0 the unconditional one, each at its plain cost. Ho & Salimans 2022
    (arXiv 2207.12598, eq. 6) write w = guidance - 1.
    """
    if guidance == 1:
        return model

    def eps(x, t, y):
        null = torch.full_like(y, null_label)
        if guidance == 0:
            return model(x, t, null)
        conditional, unconditional = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, null])).chunk(2)
        return unconditional + guidance * (conditional - unconditional)

    return eps


class ImageNoise:
    """Standard normal noise for images number `indices`: call k gives the k-th draw of each, (B, C, H, W) float32.

    One counter-based generator per image (Philox, key = (seed, i)). torch's CPU generator keeps 32 bits of its seed,
    so among 50,000 images two would share their noise in one run of four; 128 bits do not collide.
    """

    def __init__(self, seed, indices, shape):
        self.shape = tuple(shape)
        self.generators = [np.random.Generator(np.random.Philox(key=[seed, i])) for i in indices]

    def __call__(self):
        draws = [g.standard_normal(self.shape, dtype=np.float32) for g in self.generators]
        return torch.from_numpy(np.stack(draws))


@torch.no_grad()
def sample_steps(model, schedule, y, noise, *, sampler="ancestral", steps=50, clip_x0=True):
    """Walk from noise to images of the labels y; yield (t, x, x0) after each step: the new x and the estimate of x0.

    model(x, t, y) predicts eps. y: (B,) int64, on the model's device. noise() gives (B, C, H, W) standard normal.
    clip_x0 clamps each estimate to [-1, 1], the range of images. The last x is the last x0: no noise is added there.
    InputError for an unknown sampler or steps outside 1..T.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"sampler={sampler!r}: expected one of {', '.join(map(repr, SAMPLERS))}")
    ac = schedule.alphas_cumprod.tolist() + [1.0]      # ac[-1] = 1: the clean image, before t=0

    def predict(x, t):
        tt = torch.full_like(y, t)
        x0 = predict_x0(schedule, x, tt, model(x, tt, y))
        return x0.clamp(-1, 1) if clip_x0 else x0

    yield from SAMPLERS[sampler](predict, ac, timesteps(schedule.T, steps), noise().to(y.device), noise)


def sample(*args, **options):
    """The last x of `sample_steps`: (B, C, H, W), in [-1, 1] when x0 is clipped."""
    *_, (_, x, _) = sample_steps(*args, **options)
    return x


def class_labels(num_classes, per_class):
    """Exactly `per_class` labels of each class, in turn: image i is of class i mod num_classes. (N,) int64

    So a run of more images per class begins with the images of a run of fewer.
    """
    return torch.arange(num_classes * per_class) % num_classes


def generate(model, schedule, labels, image_shape, *, seed=0, guidance=1.0, batch=250, device="cpu", **options):
    """Make one image for each label, in batches; yield {done, images: (b, C, H, W) float, images_per_second}.

    options: sampler, steps, clip_x0 of `sample_steps`. The images are a function of (seed, number of the image), so
    `batch` changes only the speed.
    """
    start = time.monotonic()
    eps = guided(model, guidance, model.num_classes)
    for first in range(0, len(labels), batch):
        y = labels[first:first + batch].to(device)
        noise = ImageNoise(seed, range(first, first + len(y)), image_shape)
        x = sample(eps, schedule, y, noise, **options)
        done = first + len(y)
        yield {"done": done, "images": x.cpu(), "images_per_second": done / (time.monotonic() - start)}
