"""Two tests that need no trained network, and the mistakes that they must catch.

A. For a data set of four images E[eps | x_t] is known exactly; each sampler must return one of the four.
B. For Gaussian data the exact eps is linear in x_t, so the sampler's output variance is a scalar recursion.
"""
import math
import re

import numpy as np
import pytest
import torch

from lib import InputError
from lib.data.images import to_uint8
from lib.diffusion import SPACINGS, samplers
from lib.diffusion.process import make_target, predict_x0, q_posterior
from lib.diffusion.samplers import (
    SAMPLERS,
    ImageNoise,
    as_labels,
    draw,
    generate,
    guided,
    limit_x0,
    sample,
    sample_steps,
    timesteps,
    walk,
)
from lib.diffusion.schedules import make_schedule


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


def farthest_and_counts(schedule, sampler, steps, B=64, **options):
    x = sample(ideal_eps(schedule), schedule, torch.zeros(B, dtype=torch.long), Noise64(1, range(B), (3, 8, 8)),
               sampler=sampler, steps=steps, x0_handling="none", **options)
    rms = (x[:, None] - DATA).pow(2).mean((2, 3, 4)).sqrt()
    return rms.min(1).values.max().item(), torch.bincount(rms.argmin(1), minlength=4).tolist()


@pytest.mark.parametrize("name, steps", [("linear", 100), ("cosine", 25)])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_perfect_denoiser_returns_the_data(name, sampler, steps):
    far, counts = farthest_and_counts(make_schedule(name, 100), sampler, steps)
    assert far < 1e-6                                   # float64; the nearest other image is 0.8 away
    assert min(counts) >= 5                             # of 64, 16 expected; below 5 has chance 2e-4


@pytest.mark.parametrize("options", [{"spacing": "quadratic"}, {"spacing": "log-snr"}, {"eta": 0.5}, {"eta": 1.0}])
def test_a_perfect_denoiser_returns_the_data_with_every_option(options):
    far, counts = farthest_and_counts(make_schedule("cosine", 100), "ddim", 25, **options)
    assert far < 1e-6 and min(counts) >= 5


def gaussian_variance(schedule, s2, sampler, steps, eta=0.0, spacing="even"):
    """Exact output variance of a one-step sampler for data N(0, s2): x -> a x + b noise is carried as a scalar."""
    ac = schedule.alphas_cumprod.tolist() + [1.0]
    times, v = timesteps(schedule, steps, spacing), 1.0
    for t, s in zip(times, times[1:] + [-1], strict=True):
        k = math.sqrt(ac[t]) * s2 / (ac[t] * s2 + 1 - ac[t])                # E[x0 | x_t] = k x_t
        alpha = ac[t] / ac[s]
        posterior = (1 - alpha) * (1 - ac[s]) / (1 - ac[t])
        if sampler == "ddim":                                               # Song et al. eq. 12 and 16
            sigma2 = eta**2 * posterior
            a = math.sqrt(ac[s]) * k + math.sqrt(1 - ac[s] - sigma2) * (1 - math.sqrt(ac[t]) * k) / math.sqrt(1 - ac[t])
        else:                                                               # Ho et al. eq. 6, 7 for one step t -> s
            sigma2 = posterior if sampler == "ancestral" or s < 0 else 1 - alpha
            a = (math.sqrt(ac[s]) * (1 - alpha) * k + math.sqrt(alpha) * (1 - ac[s])) / (1 - ac[t])
        v = a * a * v + sigma2
    return v


def measured_variance(schedule, s2, sampler, steps, **options):
    """The same variance by pushing 1 through every linear step of the real sampler: signal and noise apart."""
    def eps(x, t, y):
        ac = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        return (1 - ac).sqrt() / (ac * s2 + 1 - ac) * x

    n = len(timesteps(schedule, steps))

    class UnitNoise:
        """Image j gets a 1 at draw j and 0 elsewhere: its output is the coefficient of that draw."""
        def __init__(self):
            self.call = -1

        def __call__(self):
            self.call += 1
            return torch.eye(n, dtype=torch.float64)[self.call].view(n, 1, 1, 1)

    x = sample(eps, schedule, torch.zeros(n, dtype=torch.long), UnitNoise(), sampler=sampler, steps=steps,
               x0_handling="none", **options)
    return x.square().sum().item()


@pytest.mark.parametrize("name, steps, s2", [("linear", 100, 0.25), ("cosine", 7, 0.0625)])
@pytest.mark.parametrize("sampler, options", [
    ("ancestral", {}), ("ancestral-large", {}), ("ddim", {}), ("ddim", {"eta": 0.3}), ("ddim", {"eta": 1.0}),
    ("ddim", {"spacing": "log-snr"}), ("ancestral", {"spacing": "quadratic"})])
def test_gaussian_data_come_out_with_the_exact_variance(name, sampler, options, steps, s2):
    s = make_schedule(name, 100)
    exact = gaussian_variance(s, s2, sampler, steps, **options)
    assert measured_variance(s, s2, sampler, steps, **options) == pytest.approx(exact, rel=1e-9)


def test_ddim_with_eta_1_is_ancestral_sampling():
    s, y = make_schedule("cosine", 100), torch.zeros(8, dtype=torch.long)
    a, b = (sample(ideal_eps(s), s, y, Noise64(1, range(8), (3, 8, 8)), steps=20, x0_handling="none", **options)
            for options in ({"sampler": "ancestral"}, {"sampler": "ddim", "eta": 1.0}))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("target", ["x0", "v"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_network_of_another_target_makes_the_same_images(sampler, target):
    """The same knowledge told as eps, x0 or v leads to the same images: they are linear in each other."""
    s, y = make_schedule("cosine", 100), torch.zeros(8, dtype=torch.long)
    eps = ideal_eps(s)

    def told(x, t, y):
        e = eps(x, t, y)
        return make_target(s, target, predict_x0(s, x, t, e), t, e)

    a, b = (sample(f, s, y, Noise64(1, range(8), (3, 8, 8)), sampler=sampler, steps=20, target=name)
            for f, name in ((eps, "eps"), (told, target)))
    torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


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
    """Ancestral sampling with another mean or variance."""
    def step(ac_t, ac_s, x, x0, noise):
        mean, variance = q_posterior(ac_t, ac_s, x0, x)
        alpha = ac_t / ac_s
        return formula(mean=mean, v=variance, beta=1 - alpha, alpha=alpha, x=x, x0=x0, noise=noise(), ac_t=ac_t,
                       ac_s=ac_s)
    return walk(step)


def plain_step(coefficient, scale):
    """Algorithm 2 written with eps and a wrong coefficient or scale."""
    def formula(v, beta, x, x0, noise, ac_t, alpha, **_):
        eps = (x - ac_t**0.5 * x0) / (1 - ac_t) ** 0.5
        return scale(alpha, ac_t) * (x - coefficient(beta, ac_t) * eps) + v**0.5 * noise
    return wrong(formula)


def noise_at_0(predict, ac, times, x, noise):
    """The step to the clean image draws, too."""
    for t, xt, x0 in SAMPLERS["ddim"](predict, ac, times, x, noise, eta=1.0):
        yield t, xt + (1 - ac[0]) ** 0.5 * noise().to(xt) if t == 0 else xt, x0


MUTANTS = {
    "noise at t=0": noise_at_0,
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
    monkeypatch.setitem(samplers.SAMPLERS, "ancestral", MUTANTS[mistake])
    assert caught(s)


def test_the_two_tests_catch_a_loop_that_ends_early(monkeypatch):
    s = make_schedule("linear", 100)
    monkeypatch.setattr(samplers, "timesteps", lambda *a: timesteps(*a)[:-1])
    assert caught(s)


def test_the_two_tests_catch_a_model_told_the_wrong_step(monkeypatch):
    s = make_schedule("linear", 100)
    off_by_one = samplers.predict_x0
    monkeypatch.setattr(samplers, "predict_x0", lambda sch, x, t, *a: off_by_one(sch, x, (t - 1).clamp(0), *a))
    assert caught(s)


def test_all_steps_are_visited_once_from_noise_to_0():
    assert timesteps(make_schedule("linear", 1000), 4) == [999, 666, 333, 0]
    assert [t for t, _, _ in sample_steps(lambda x, t, y: x, make_schedule("linear", 10), torch.zeros(1).long(),
                                          ImageNoise(0, [0], (1, 8, 8)), steps=10)] == list(range(9, -1, -1))


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_spacing_visits_different_times_from_the_last_to_the_first(name, spacing):
    s = make_schedule(name, 100)
    for steps in range(2, 101):
        times = timesteps(s, steps, spacing)
        assert len(times) == steps and times[0] == 99 and times[-1] == 0
        assert all(a > b for a, b in zip(times, times[1:], strict=False))


def test_spacings_put_the_steps_where_they_say():
    s = make_schedule("linear", 10_000)
    assert timesteps(s, 5, "quadratic") == [9999, 5624, 2500, 625, 0]              # (T-1) (i/4)^2
    log_snr = torch.logit(s.alphas_cumprod)[timesteps(s, 9, "log-snr")]
    gaps = log_snr.diff()
    torch.testing.assert_close(gaps, gaps.mean().expand(8), rtol=0.01, atol=0)


@pytest.mark.parametrize("T, steps", [(10, 11), (10, 0)])
def test_more_steps_than_the_schedule_has_are_refused(T, steps):
    with pytest.raises(InputError, match=f"sample_steps={steps}: expected 1 to T={T}"):
        timesteps(make_schedule("linear", T), steps)


@pytest.mark.parametrize("options, words", [
    ({"sampler": "dimm"}, "sampler='dimm': expected one of "),
    ({"spacing": "uniform"}, "spacing='uniform': expected one of 'even', 'quadratic', 'log-snr'"),
    ({"x0_handling": "clamp"}, "x0_handling='clamp': expected one of 'none', 'clip', 'dynamic'"),
    ({"target": "score"}, "target='score': expected one of 'eps', 'x0', 'v'"),
    ({"eta": 0.5}, "eta=0.5: expected 0 to 1 for the sampler 'ddim' and 0 for the others"),
    ({"eta": 1.5, "sampler": "ddim"}, "eta=1.5: expected 0 to 1"),
])
def test_a_bad_option_is_refused_with_what_is_accepted(options, words):
    with pytest.raises(InputError, match=re.escape(words)):
        sample(lambda x, t, y: x, make_schedule("linear", 10), torch.zeros(1).long(), ImageNoise(0, [0], (1, 8, 8)),
               **{"steps": 2} | options)


def trained(schedule="cosine", target="v"):
    class Net:
        num_classes, image_shape, classes = 3, (1, 8, 8), ["cat", "dog", "7"]

        def __call__(self, x, t, y):
            return x

    net = Net()
    net.trained = (make_schedule(schedule, 50), target)
    return net


def test_a_network_refuses_another_schedule_or_target_than_it_was_trained_with():
    y, noise = torch.zeros(1).long(), ImageNoise(0, [0], (1, 8, 8))
    sample(trained(), make_schedule("cosine", 50), y, noise, target="v", steps=2)
    for schedule, T, target in (("linear", 50, "v"), ("cosine", 60, "v"), ("cosine", 50, "eps")):
        with pytest.raises(InputError, match="the network was trained with schedule 'cosine', T=50 and target 'v'"):
            sample(trained(), make_schedule(schedule, T), y, noise, target=target, steps=2)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_that_the_network_does_not_know_is_refused(label):
    with pytest.raises(InputError, match="expected 0 to 2, or 3 for none"):
        sample(trained(), make_schedule("cosine", 50), torch.tensor([0, label]), ImageNoise(0, [0, 1], (1, 8, 8)),
               target="v", steps=2)


def test_a_result_that_is_not_finite_is_an_error():
    with pytest.raises(FloatingPointError, match="sampling diverged"):
        sample(lambda x, t, y: x / 0, make_schedule("linear", 10), torch.zeros(1).long(), ImageNoise(0, [0], (1, 8, 8)),
               steps=2, x0_handling="none")


def test_dynamic_threshold_scales_only_images_that_leave_the_range():
    x0 = torch.stack([torch.linspace(-0.9, 0.9, 64), torch.linspace(-4, 4, 64)]).view(2, 1, 8, 8)
    out, limit = limit_x0(x0, "dynamic"), x0[1].abs().flatten().quantile(0.995)
    torch.testing.assert_close(out[0], x0[0])
    torch.testing.assert_close(out[1], x0[1].clamp(-limit, limit) / limit)
    assert out.abs().max() <= 1


def test_one_image_of_a_run_can_be_made_alone():
    labels = torch.arange(7) % 3
    options, model = {"seed": 4, "sampler": "ancestral", "steps": 10}, trained()
    whole = torch.cat([p["images"] for p in generate(model, labels, batch=3, **options)])
    one, = generate(model, labels[[5]], numbers=[5], **options)
    assert torch.equal(one["images"][0], whole[5]) and not torch.equal(whole[5], whole[2])


def test_labels_are_numbers_or_names_of_classes():
    assert as_labels(trained(), ["dog", 0, "7", 2]).tolist() == [1, 0, 2, 2]
    with pytest.raises(InputError, match="label 'cow': expected one of 'cat', 'dog', '7'"):
        as_labels(trained(), ["dog", "cow"])
    with pytest.raises(InputError, match="label 'cat': expected one of"):
        as_labels(lambda x, t, y: x, ["cat"])
    with pytest.raises(InputError, match="labels from 1 to 5: expected 0 to 2"):
        draw(trained(), [1, 5], steps=2)


def test_a_drawing_is_the_images_in_grey_levels_and_takes_schedule_target_and_shape_from_the_model():
    model, labels = trained(), torch.tensor([1, 0, 2])
    images = draw(model, ["dog", "cat", "7"], seed=2, steps=5)
    assert (images.shape, images.dtype) == ((3, 1, 8, 8), torch.uint8)
    by_hand = sample(model, model.trained[0], labels, ImageNoise(2, range(3), (1, 8, 8)), target="v", steps=5)
    assert torch.equal(images, to_uint8(by_hand))
    assert draw(model, [0], image_shape=(3, 4, 6), steps=2).shape == (1, 3, 4, 6)


def test_clipping_keeps_every_estimate_in_the_range_of_images():
    loud = sample_steps(lambda x, t, y: 50 * x, make_schedule("cosine", 20), torch.zeros(4).long(),
                        ImageNoise(0, range(4), (1, 8, 8)), steps=20, x0_handling="clip")
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
    calls = []

    def model(x, t, y):
        calls.append(len(x))
        return x * (1 + y.view(-1, 1, 1, 1))

    model.num_classes = 9
    x, t, y = torch.randn(4, 1, 8, 8), torch.zeros(4).long(), torch.arange(4)
    u, c = model(x, t, torch.full_like(y, 9)), model(x, t, y)
    calls.clear()
    torch.testing.assert_close(guided(model, 1.0)(x, t, y), c)
    torch.testing.assert_close(guided(model, 0.0)(x, t, y), u)
    torch.testing.assert_close(guided(model, 2.5)(x, t, y), u + 2.5 * (c - u))
    assert calls == [4, 4, 8]                                               # one call each, one batch of both
