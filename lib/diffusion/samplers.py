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
from lib.data.images import to_uint8
from lib.diffusion import SPACINGS, X0_HANDLINGS, known
from lib.diffusion.process import predict_x0, q_posterior


def ancestral_step(ac_t, ac_s, x, x0, noise):
    """Draw from q(x_s | x_t, x0) with the estimated x0: Ho et al. 2020, algorithm 2 with sigma^2 of eq. 7."""
    mean, variance = q_posterior(ac_t, ac_s, x0, x)
    return mean + variance**0.5 * noise().to(x)


def ancestral_large_step(ac_t, ac_s, x, x0, noise):
    """The same mean with the larger of Ho et al.'s two fixed variances, beta_t (section 3.2)."""
    return q_posterior(ac_t, ac_s, x0, x)[0] + (1 - ac_t / ac_s) ** 0.5 * noise().to(x)


def ddim_step(ac_t, ac_s, x, x0, noise, eta=0.0):
    """Song, Meng & Ermon 2021 (arXiv 2010.02502), eq. 12 and 16: eta = 0 draws nothing, eta = 1 is `ancestral_step`."""
    eps = (x - ac_t**0.5 * x0) / (1 - ac_t) ** 0.5
    variance = eta**2 * (1 - ac_s) / (1 - ac_t) * (1 - ac_t / ac_s)
    x = ac_s**0.5 * x0 + (1 - ac_s - variance) ** 0.5 * eps
    return x + variance**0.5 * noise().to(x) if eta else x


def walk(step):
    """The sampler that takes one `step(ac_t, ac_s, x, x0, noise)` from each time t to the next one s."""
    def sampler(predict, ac, times, x, noise, **options):
        for t, s in zip(times, times[1:] + [-1], strict=True):
            x0 = predict(x, t)
            x = step(ac[t], ac[s], x, x0, noise, **options) if s >= 0 else x0
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


SAMPLERS = {"ancestral": walk(ancestral_step), "ancestral-large": walk(ancestral_large_step), "ddim": walk(ddim_step),
            "dpm++2m": dpmpp_2m, "heun": heun}


def timesteps(schedule, steps, spacing="even"):
    """`steps` different times from T-1 down to 0, both ends visited. InputError unless 1 <= steps <= T.

    Spacing: even in t; quadratic, closer together at little noise (Song et al. 2021, appendix D.2); or even in log-SNR
    (Lu et al. 2022, section 4). Where rounding would visit a time twice, the next free one is taken.
    """
    T = schedule.T
    if not 1 <= steps <= T:
        raise InputError(f"sample_steps={steps}: expected 1 to T={T}")
    if known("spacing", spacing, SPACINGS) == "log-snr":
        log_snr = torch.logit(schedule.alphas_cumprod).numpy()
        times = np.interp(np.linspace(log_snr[-1], log_snr[0], steps), log_snr[::-1], np.arange(T)[::-1])
    else:
        power = {"even": 1, "quadratic": 2}[spacing]
        times = np.linspace((T - 1) ** (1 / power), 0, steps) ** power
    left = np.arange(steps)[::-1]                                       # times still to come: each needs a place below
    times = np.maximum(times.round().astype(int), left)
    return (np.minimum.accumulate(times - left) + left).tolist()


def limit_x0(x0, handling):
    """The estimate of the clean image, brought to the range of images [-1, 1], or not.

    none; clip: clamp to [-1, 1] (Ho et al.'s code); dynamic: clamp each image to the 99.5 % quantile of its absolute
    values if that is above 1, and divide by it (Saharia et al. 2022, arXiv 2205.11487, section 2.3).
    """
    if known("x0_handling", handling, X0_HANDLINGS) == "clip":
        return x0.clamp(-1, 1)
    if handling == "dynamic":
        limit = x0.flatten(1).abs().quantile(0.995, dim=1).clamp(min=1).view(-1, 1, 1, 1)
        return x0.clamp(-limit, limit) / limit
    return x0


def guided(model, guidance):
    """Classifier-free guidance: null + guidance * (conditional - null), in one batched call of the network.

    guidance 1 is the conditional model and 0 the unconditional one, each at its plain cost. Ho & Salimans 2022
    (arXiv 2207.12598, eq. 6) write w = guidance - 1, for eps; x0 and v are linear in eps, so it holds for them too.
    """
    if guidance == 1:
        return model

    def output(x, t, y):
        null = torch.full_like(y, model.num_classes)
        if guidance == 0:
            return model(x, t, null)
        conditional, unconditional = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, null])).chunk(2)
        return unconditional + guidance * (conditional - unconditional)

    return output


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
def sample_steps(model, schedule, y, noise, *, target="eps", sampler="ancestral", steps=50, spacing="even", eta=0.0,
                 guidance=1.0, x0_handling="clip"):
    """Walk from noise to images of the labels y; yield (t, x, x0) after each step: the new x and the estimate of x0.

    model(x, t, y) answers with the target. y: (B,) int64, on the model's device. noise() gives (B, C, H, W) standard
    normal. eta is for ddim alone. The last x is the last x0: no noise is added there.
    InputError for an unknown name, steps outside 1..T, an eta outside 0..1, a label that the model does not know, or
    another schedule or target than the model was trained with.
    """
    known("sampler", sampler, SAMPLERS)
    if not 0 <= eta <= (1 if sampler == "ddim" else 0):
        raise InputError(f"eta={eta}: expected 0 to 1 for the sampler 'ddim' and 0 for the others")
    check_trained(model, schedule, target)
    classes = getattr(model, "num_classes", None)
    if classes is not None and len(y) and not 0 <= int(y.min()) <= int(y.max()) <= classes:
        raise InputError(f"labels from {int(y.min())} to {int(y.max())}: expected 0 to {classes - 1}, "
                         f"or {classes} for none")
    limit_x0(torch.zeros(1, 1, 1, 1), x0_handling)      # an unknown name is refused before any work
    ac = schedule.alphas_cumprod.tolist() + [1.0]       # ac[-1] = 1: the clean image, before t=0
    network = guided(model, guidance)

    def predict(x, t):
        tt = torch.full((len(y),), t)                   # on the CPU: nothing waits for a GPU to tell its range
        return limit_x0(predict_x0(schedule, x, tt, network(x, tt.to(y.device), y), target), x0_handling)

    times, options = timesteps(schedule, steps, spacing), {"eta": eta} if eta else {}
    yield from SAMPLERS[sampler](predict, ac, times, noise().to(y.device), noise, **options)


def check_trained(model, schedule, target):
    """InputError if the model carries another schedule or target than these (`load_model` puts them there)."""
    trained, trained_target = getattr(model, "trained", (schedule, target))
    if (trained_target, trained.T) != (target, schedule.T) or not torch.equal(trained.betas, schedule.betas):
        raise InputError(f"schedule {schedule.name!r} with T={schedule.T} and target {target!r}: the network was "
                         f"trained with schedule {trained.name!r}, T={trained.T} and target {trained_target!r}")


def sample(*args, **options):
    """The last x of `sample_steps`: (B, C, H, W), in [-1, 1] when x0 is clipped. FloatingPointError if not finite."""
    *_, (_, x, _) = sample_steps(*args, **options)
    if not torch.isfinite(x).all():
        raise FloatingPointError("sampling diverged: the images are not finite; clip x0, or take more steps")
    return x


def class_labels(num_classes, per_class):
    """Exactly `per_class` labels of each class, a number or a list with one for each, in turn. (N,) int64

    With one number image i is of class i mod num_classes, so a run of more images begins with those of a run of fewer.
    """
    numbers = torch.tensor(per_class).expand(num_classes)
    place = torch.arange(num_classes * int(numbers.max()))
    return (place % num_classes)[place // num_classes < numbers[place % num_classes]]


def as_labels(model, labels):
    """Labels as numbers, (N,) int64: a tensor of them, or a list of numbers and names of `model.classes`.

    InputError for a name that the model does not know.
    """
    if isinstance(labels, torch.Tensor):
        return labels
    names = {name: k for k, name in enumerate(getattr(model, "classes", ()))}
    if unknown := [label for label in labels if isinstance(label, str) and label not in names]:
        raise InputError(f"label {unknown[0]!r}: expected one of {', '.join(map(repr, names))}")
    return torch.tensor([names.get(label, label) for label in labels], dtype=torch.int64)


def generate(model, labels, *, seed=0, numbers=None, batch=250, image_shape=None, **options):
    """Make one image for each label, in batches; yield {done, images: (b, C, H, W) float, images_per_second}.

    model: a network or a `devices.Forward`; its `trained` are the schedule and the target. labels: see `as_labels`.
    numbers: which images of the run `seed` these are, 0 to N-1 by default, so one alone can be made again.
    image_shape: (C, H, W), by default that of the images it learned from. options: those of `sample_steps`. An image
    is a function of (seed, its number, its label and the options); `batch` changes only the speed.
    """
    labels, (schedule, target) = as_labels(model, labels), model.trained
    numbers = range(len(labels)) if numbers is None else list(numbers)
    shape = image_shape or model.image_shape
    weight = next(model.parameters(), labels) if hasattr(model, "parameters") else labels
    start = time.monotonic()
    for first in range(0, len(labels), batch):
        y = labels[first:first + batch].to(weight.device)
        noise = ImageNoise(seed, numbers[first:first + batch], shape)
        x = sample(model, schedule, y, noise, target=target, **options)
        done = first + len(y)
        yield {"done": done, "images": x.cpu(), "images_per_second": done / (time.monotonic() - start)}


def draw(model, labels, **options):
    """One image for each label, (N, C, H, W) uint8; arguments as for `generate`."""
    return torch.cat([to_uint8(part["images"]) for part in generate(model, labels, **options)])
