"""Two tests that need no trained network, and the mistakes that they must catch.

A. For a data set of four images E[eps | x_t] is known exactly; each sampler must return one of the four.
B. For Gaussian data the exact eps is linear in x_t, so the sampler's output variance is a scalar recursion.
"""
import math

import numpy as np
import pytest
import torch

from lib import InputError, samplers
from lib.diffusion import q_posterior
from lib.samplers import SAMPLERS, ImageNoise, guided, sample, sample_steps, timesteps, walk
from lib.schedules import SCHEDULES, make_schedule


class Noise64(ImageNoise):
    def __call__(self):
        return super().__call__().double()


DATA = torch.randint(0, 256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0)).double() / 127.5 - 1


def ideal_eps(schedule):
    """E[eps | x_t] when x_0 is one of the four images of DATA with equal chance."""
    def eps(x, t, y):
        ac = schedule.alphas_cumprod[t][:, None]
        flat, data = x.flatten(1), DATA.flatten(1)
        d2 = ((flat[:, None] - ac[..., None].sqrt() * data) ** 2).sum(-1)
        x0 = torch.softmax(-d2 / (2 * (1 - ac)), 1) @ data
        return ((flat - ac.sqrt() * x0) / (1 - ac).sqrt()).view_as(x)
    return eps


def farthest_and_counts(schedule, sampler, steps, B=64, model=None):
    x = sample(model or ideal_eps(schedule), schedule, torch.zeros(B, dtype=torch.long),
               Noise64(1, range(B), (3, 8, 8)), sampler=sampler, steps=steps, clip_x0=False)
    rms = (x[:, None] - DATA).pow(2).mean((2, 3, 4)).sqrt()
    return rms.min(1).values.max().item(), torch.bincount(rms.argmin(1), minlength=4).tolist()


@pytest.mark.parametrize("steps", [100, 25])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_perfect_denoiser_returns_the_data(name, sampler, steps):
    far, counts = farthest_and_counts(make_schedule(name, 100), sampler, steps)
    assert far < 1e-6                                   # float64; the nearest other image is 0.8 away
    assert min(counts) >= 5                             # of 64, 16 expected; below 5 has chance 2e-4


def gaussian_variance(schedule, s2, sampler, steps):
    """Exact output variance of a one-step sampler for data N(0, s2): x -> a x + b noise is carried as a scalar."""
    ac = schedule.alphas_cumprod.tolist() + [1.0]
    times, v = timesteps(schedule.T, steps), 1.0
    for t, s in zip(times, times[1:] + [-1], strict=True):
        k = math.sqrt(ac[t]) * s2 / (ac[t] * s2 + 1 - ac[t])                # E[x0 | x_t] = k x_t
        if sampler == "ancestral":                                          # Ho et al. eq. 6, 7 for one step t -> s
            alpha = ac[t] / ac[s]
            a = (math.sqrt(ac[s]) * (1 - alpha) * k + math.sqrt(alpha) * (1 - ac[s])) / (1 - ac[t])
            v = a * a * v + (1 - alpha) * (1 - ac[s]) / (1 - ac[t])
        else:                                                               # DDIM, eq. 12 with sigma = 0
            a = math.sqrt(ac[s]) * k + math.sqrt(1 - ac[s]) * (1 - math.sqrt(ac[t]) * k) / math.sqrt(1 - ac[t])
            v = a * a * v
    return v


def measured_variance(schedule, s2, sampler, steps):
    """The same variance by pushing 1 through every linear step of the real sampler: signal and noise apart."""
    def eps(x, t, y):
        ac = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        return (1 - ac).sqrt() / (ac * s2 + 1 - ac) * x

    n = len(timesteps(schedule.T, steps))

    class UnitNoise:
        """Image j gets a 1 at draw j and 0 elsewhere: its output is the coefficient of that draw."""
        def __init__(self):
            self.call = -1

        def __call__(self):
            self.call += 1
            return torch.eye(n, dtype=torch.float64)[self.call].view(n, 1, 1, 1)

    x = sample(eps, schedule, torch.zeros(n, dtype=torch.long), UnitNoise(), sampler=sampler, steps=steps,
               clip_x0=False)
    return x.square().sum().item()


@pytest.mark.parametrize("s2", [0.0625, 0.25, 1.0])
@pytest.mark.parametrize("steps", [100, 25, 7])
@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_gaussian_data_come_out_with_the_exact_variance(name, sampler, steps, s2):
    s = make_schedule(name, 100)
    assert measured_variance(s, s2, sampler, steps) == pytest.approx(gaussian_variance(s, s2, sampler, steps), rel=1e-9)


@pytest.mark.parametrize("sampler, order", [("ddim", 1), ("dpm++2m", 2), ("heun", 2)])
def test_a_deterministic_sampler_has_its_order_of_convergence(sampler, order):
    """For data N(0, s2) the probability-flow ODE is solved exactly: x_0 = x_T s / sqrt(ac_T s2 + 1 - ac_T)."""
    s, s2 = make_schedule("linear", 40_000), 0.25
    exact = s2 / (s.alphas_cumprod[-1].item() * (s2 - 1) + 1)
    errors = [abs(math.sqrt(measured_variance(s, s2, sampler, n) / exact) - 1) for n in (40, 80, 160)]
    rates = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert rates == pytest.approx([order, order], abs=0.3), errors       # 2M: its first and last steps are of order 1


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_many_ancestral_steps_reach_the_variance_of_the_data(name):
    """The recursion itself is right: its bias against the data's variance vanishes as steps grow."""
    off = [abs(gaussian_variance(make_schedule(name, T), 0.25, "ancestral", T) / 0.25 - 1) for T in (50, 400, 3200)]
    assert off[2] < off[1] < off[0] and off[2] < 0.01


def wrong(formula):
    """An ancestral step with another mean or variance."""
    def step(ac_t, ac_s, x, x0, noise):
        mean, variance = q_posterior(ac_t, ac_s, x0, x)
        alpha = ac_t / ac_s
        return formula(mean=mean, v=variance, beta=1 - alpha, alpha=alpha, x=x, x0=x0, noise=noise, ac_t=ac_t,
                       ac_s=ac_s)
    return step


def plain_step(coefficient, scale):
    """Algorithm 2 written with eps and a wrong coefficient or scale."""
    def formula(v, beta, x, x0, noise, ac_t, alpha, **_):
        eps = (x - ac_t**0.5 * x0) / (1 - ac_t) ** 0.5
        return scale(alpha, ac_t) * (x - coefficient(beta, ac_t) * eps) + v**0.5 * noise
    return wrong(formula)


def draw(like):
    return torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(5))


MUTANTS = {
    "noise at t=0": wrong(lambda mean, v, beta, x, noise, **_: mean + beta**0.5 * draw(x)),
    "beta for the posterior variance": wrong(lambda mean, beta, noise, ac_s, **_: mean + beta**0.5 * noise),
    "variance used as standard deviation": wrong(lambda mean, v, noise, **_: mean + v * noise),
    "no noise": wrong(lambda mean, **_: mean),
    "beta / (1 - ac)": plain_step(lambda beta, ac: beta / (1 - ac), lambda alpha, ac: alpha**-0.5),
    "1 / sqrt(ac)": plain_step(lambda beta, ac: beta / (1 - ac) ** 0.5, lambda alpha, ac: ac**-0.5),
}


def caught(schedule):
    """True when test A or test B fails for the sampler 'ancestral' as it stands now."""
    far, counts = farthest_and_counts(schedule, "ancestral", 50)
    if not far < 1e-6 or min(counts) < 5:
        return True
    exact = gaussian_variance(schedule, 0.25, "ancestral", 50)
    return abs(measured_variance(schedule, 0.25, "ancestral", 50) / exact - 1) > 1e-6


@pytest.mark.parametrize("mistake", MUTANTS)
def test_the_two_tests_catch_a_planted_mistake(mistake, monkeypatch):
    s = make_schedule("linear", 100)
    assert not caught(s)
    monkeypatch.setitem(samplers.SAMPLERS, "ancestral", walk(MUTANTS[mistake]))
    assert caught(s)


def test_the_two_tests_catch_a_loop_that_ends_early(monkeypatch):
    s = make_schedule("linear", 100)
    monkeypatch.setattr(samplers, "timesteps", lambda T, steps: timesteps(T, steps)[:-1])
    assert caught(s)


def test_the_two_tests_catch_a_model_told_the_wrong_step(monkeypatch):
    s = make_schedule("linear", 100)
    off_by_one = samplers.predict_x0
    monkeypatch.setattr(samplers, "predict_x0", lambda sch, x, t, eps: off_by_one(sch, x, (t - 1).clamp(0), eps))
    assert caught(s)


def test_all_steps_are_visited_once_from_noise_to_0():
    assert timesteps(10, 10) == list(range(9, -1, -1))
    assert timesteps(1000, 4) == [999, 666, 333, 0]
    assert [t for t, _, _ in sample_steps(lambda x, t, y: x, make_schedule("linear", 10), torch.zeros(1).long(),
                                          ImageNoise(0, [0], (1, 8, 8)), steps=10)] == list(range(9, -1, -1))


@pytest.mark.parametrize("T, steps", [(10, 11), (10, 0)])
def test_more_steps_than_the_schedule_has_are_refused(T, steps):
    with pytest.raises(InputError, match=f"sample_steps={steps}: expected 1 to T={T}"):
        timesteps(T, steps)


def test_unknown_sampler_lists_the_accepted_names():
    with pytest.raises(InputError, match="'dimm'.*'ancestral', 'ddim', 'dpm"):
        sample(None, make_schedule("linear", 10), torch.zeros(1).long(), None, sampler="dimm", steps=2)


def test_clipping_keeps_every_estimate_in_the_range_of_images():
    loud = sample_steps(lambda x, t, y: 50 * x, make_schedule("cosine", 20), torch.zeros(4).long(),
                        ImageNoise(0, range(4), (1, 8, 8)), steps=20, clip_x0=True)
    assert all(x0.abs().max() <= 1 for _, _, x0 in loud)


def test_image_i_depends_on_seed_and_i_only():
    s = make_schedule("cosine", 50)

    def model(x, t, y):
        return torch.tanh(x) * (1 + y.view(-1, 1, 1, 1))

    def images(indices):
        return sample(model, s, torch.tensor([i % 3 for i in indices]), ImageNoise(7, indices, (1, 8, 8)), steps=10)

    together, apart = images(range(6)), torch.cat([images([4]), images([0, 5])])
    assert torch.equal(together[[4, 0, 5]], apart)
    assert not torch.equal(together[0], together[3])
    other = sample(model, s, torch.tensor([0]), ImageNoise(8, [0], (1, 8, 8)), steps=10)
    assert not torch.equal(other[0], together[0])


def test_noise_is_standard_normal_and_no_two_images_share_it():
    noise = ImageNoise(0, range(500), (1, 8, 8))()
    n = noise.numel()
    assert abs(noise.mean().item()) < 5 / n**0.5 and abs(noise.var().item() - 1) < 5 * (2 / n) ** 0.5
    gram = (noise.flatten(1) @ noise.flatten(1).T).fill_diagonal_(0)
    assert gram.abs().max() / 64 < 0.9
    assert noise.dtype == torch.float32 and np.isfinite(noise.numpy()).all()


def test_guidance_0_and_1_are_the_unconditional_and_the_conditional_model():
    def model(x, t, y):
        return x * (1 + y.view(-1, 1, 1, 1))

    x, t, y = torch.randn(4, 1, 8, 8), torch.zeros(4).long(), torch.arange(4)
    torch.testing.assert_close(guided(model, 1.0, 9)(x, t, y), model(x, t, y))
    torch.testing.assert_close(guided(model, 0.0, 9)(x, t, y), model(x, t, torch.full_like(y, 9)))
    u, c = model(x, t, torch.full_like(y, 9)), model(x, t, y)
    torch.testing.assert_close(guided(model, 2.5, 9)(x, t, y), u + 2.5 * (c - u))
