import pytest
import torch

from lib import InputError
from lib.diffusion import LOSS_WEIGHTS
from lib.diffusion.process import (
    TARGETS,
    denoising_loss,
    extract,
    loss_weights,
    make_target,
    predict_eps,
    predict_x0,
    q_posterior,
    q_sample,
    stratified_t,
)
from lib.diffusion.schedules import SCHEDULES, make_schedule, snr

EXACT = {"rtol": 1e-9, "atol": 1e-9}          # float64 arithmetic, a few operations


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_draw_equals_step_by_step_noising(name):
    """Mean and variance of T one-step transitions (eq. 2), carried exactly, are those of the closed form (eq. 4)."""
    s = make_schedule(name, 200)
    mean, variance = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for t in range(s.T):
        mean, variance = s.alphas[t].sqrt() * mean, s.alphas[t] * variance + s.betas[t]
        at_t = torch.tensor([t])
        one, zero = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, 1, dtype=torch.float64)
        torch.testing.assert_close(q_sample(s, one, at_t, zero).squeeze(), mean, **EXACT)
        torch.testing.assert_close(q_sample(s, zero, at_t, one).squeeze() ** 2, variance, **EXACT)


@pytest.mark.parametrize("t, s", [(1, 0), (50, 49), (99, 98), (99, 60), (60, 3)])
def test_posterior_is_bayes_rule_on_a_grid(t, s):
    """q(x_s | x_t, x0) ~ q(x_t | x_s) q(x_s | x0), normalised numerically on a fine grid (eq. 6 and 7)."""
    ac = make_schedule("cosine", 100).alphas_cumprod
    x0, xt = 0.7, -0.4
    grid = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    alpha = ac[t] / ac[s]
    log = -(xt - alpha.sqrt() * grid) ** 2 / (2 * (1 - alpha)) - (grid - ac[s].sqrt() * x0) ** 2 / (2 * (1 - ac[s]))
    weight = torch.softmax(log, 0)
    mean = (weight * grid).sum()
    variance = (weight * (grid - mean) ** 2).sum()
    got_mean, got_variance = q_posterior(ac[t], ac[s], x0, xt)
    torch.testing.assert_close(got_mean, mean, rtol=1e-6, atol=1e-7)        # the grid's own error
    torch.testing.assert_close(got_variance, variance, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_posterior_variance_table_is_the_one_step_posterior(name):
    s = make_schedule(name, 100)
    _, variance = q_posterior(s.alphas_cumprod, s.alphas_cumprod_prev, 0.0, 0.0)
    torch.testing.assert_close(s.posterior_variance, variance, **EXACT)
    assert s.posterior_variance[0] == 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_every_target_gives_image_and_noise_back_exactly(name, target):
    s = make_schedule(name, 1000)
    g = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(1000, 1, 2, 2, generator=g, dtype=torch.float64) for _ in range(2))
    t = torch.arange(1000)
    xt, told = q_sample(s, x0, t, eps), make_target(s, target, x0, t, eps)
    # eps told, x0 wanted: rounding is divided by sqrt(ac), up to 20,291 at cosine's last step; x0 told, eps wanted: by
    # sqrt(1 - ac), 0.006 at the first
    worst = {"eps": 20_291, "x0": 200, "v": 1}[target]
    torch.testing.assert_close(predict_x0(s, xt, t, told, target), x0, rtol=0, atol=2e-15 * worst)
    torch.testing.assert_close(predict_eps(s, xt, t, told, target), eps, rtol=0, atol=2e-15 * worst)


def test_targets_are_what_the_papers_say():
    s, t = make_schedule("cosine", 10), torch.tensor([6])
    x0, eps = (torch.full((1, 1, 1, 1), c, dtype=torch.float64) for c in (0.7, -1.3))
    p, q = s.alphas_cumprod[6].sqrt(), (1 - s.alphas_cumprod[6]).sqrt()
    assert make_target(s, "eps", x0, t, eps).item() == -1.3
    assert make_target(s, "x0", x0, t, eps).item() == 0.7
    assert make_target(s, "v", x0, t, eps).item() == pytest.approx((p * eps - q * x0).item(), rel=1e-12)   # sec. 4


@pytest.mark.parametrize("weight", LOSS_WEIGHTS)
def test_a_weight_is_the_same_loss_for_every_target(weight):
    """An error d of x0 is told by each target as another error; all but `simple` weigh it alike (up to a constant)."""
    s, d = make_schedule("cosine", 100), 0.1
    t, zero = torch.arange(100), torch.zeros(100, 1, 1, 1, dtype=torch.float64)
    xt, loss = zero + 0.3, {}
    for target in TARGETS:
        # two answers for the same x_t whose images differ by d
        answers = [make_target(s, target, x0, t, predict_eps(s, xt, t, x0)) for x0 in (zero, zero + d)]
        loss[target] = (answers[0] - answers[1]).square().flatten() * loss_weights(s, target, weight)
    if weight == "simple":
        torch.testing.assert_close(loss["x0"], torch.full_like(loss["x0"], d * d))
        torch.testing.assert_close(loss["eps"], d * d * snr(s), rtol=1e-6, atol=0)
    else:
        for target in ("eps", "v"):
            ratio = loss[target] / loss["x0"]
            torch.testing.assert_close(ratio, ratio[:1].expand(100), rtol=1e-6, atol=0)


def test_weights_are_what_the_papers_say():
    s = make_schedule("linear", 1000)
    ratio = snr(s)
    torch.testing.assert_close(loss_weights(s, "eps", "min-snr"), ratio.clamp(max=5) / ratio)
    torch.testing.assert_close(loss_weights(s, "v", "min-snr"), ratio.clamp(max=5) / (ratio + 1))
    # Ho et al. eq. 12 with the posterior variance: beta^2 / (2 sigma^2 alpha (1 - ac))
    vlb = (s.betas**2 / (2 * s.posterior_variance * s.alphas * (1 - s.alphas_cumprod)))[1:]
    ours = loss_weights(s, "eps", "vlb")
    torch.testing.assert_close(ours[1:] / ours[1], vlb / vlb[0], rtol=1e-8, atol=0)
    assert ours.mean().item() == pytest.approx(1)


@pytest.mark.parametrize("target, weight, words", [
    ("noise", "simple", "target='noise': expected one of 'eps', 'x0', 'v'"),
    ("eps", "snr", "loss_weight='snr': expected one of 'simple', 'min-snr', 'vlb'")])
def test_unknown_names_list_the_accepted_ones(target, weight, words):
    with pytest.raises(InputError, match=words):
        loss_weights(make_schedule("linear", 10), target, weight)


@pytest.mark.parametrize("t", [-1, 10])
def test_a_step_outside_the_schedule_is_refused(t):
    s = make_schedule("linear", 10)
    with pytest.raises(IndexError, match=r"expected 0\.\.9"):
        extract(s.betas, torch.tensor([3, t]), torch.zeros(2, 1, 1, 1))


def test_loss_of_a_perfect_model_is_0_and_of_a_silent_one_is_1():
    s = make_schedule("cosine", 100)
    g = torch.Generator().manual_seed(0)
    x0, eps = torch.rand(64, 3, 8, 8, generator=g) * 2 - 1, torch.randn(64, 3, 8, 8, generator=g)
    y, t = torch.zeros(64, dtype=torch.long), stratified_t(64, 100, g)
    assert denoising_loss(lambda x, t, y: eps, s, x0, y, t, eps).max() == 0
    silent = denoising_loss(lambda x, t, y: torch.zeros_like(x), s, x0, y, t, eps)
    assert silent.shape == (64,)
    assert silent.mean().item() == pytest.approx(1, abs=4 / (64 * 192 / 2) ** 0.5)    # 4 standard errors of eps^2


def test_stratified_steps_cover_every_index_equally():
    g = torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.cat([stratified_t(32, 100, g) for _ in range(2000)]), minlength=100)
    assert len(counts) == 100
    assert ((counts - 640).abs() < 6 * 640**0.5).all()
    t = stratified_t(100, 100, g)
    assert t.tolist() == list(range(100))                                   # one from each hundredth
