import pytest
import torch

from lib.diffusion import eps_loss, extract, predict_eps, predict_x0, q_posterior, q_sample, stratified_t
from lib.schedules import SCHEDULES, make_schedule

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


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("t, s", [(1, 0), (50, 49), (99, 98), (99, 60), (60, 3)])
def test_posterior_is_bayes_rule_on_a_grid(name, t, s):
    """q(x_s | x_t, x0) ~ q(x_t | x_s) q(x_s | x0), normalised numerically on a fine grid (eq. 6 and 7)."""
    ac = make_schedule(name, 100).alphas_cumprod
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


@pytest.mark.parametrize("name", SCHEDULES)
def test_noise_and_image_predict_each_other_exactly(name):
    s = make_schedule(name, 1000)
    g = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(1000, 1, 2, 2, generator=g, dtype=torch.float64) for _ in range(2))
    t = torch.arange(1000)
    xt = q_sample(s, x0, t, eps)
    torch.testing.assert_close(predict_eps(s, xt, t, x0), eps, rtol=1e-8, atol=1e-8)
    # dividing by sqrt(ac) multiplies rounding errors by up to 20,291 at cosine's last step
    torch.testing.assert_close(predict_x0(s, xt, t, eps), x0, rtol=1e-8, atol=1e-10 * 20_291)


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
    assert eps_loss(lambda x, t, y: eps, s, x0, y, t, eps).max() == 0
    silent = eps_loss(lambda x, t, y: torch.zeros_like(x), s, x0, y, t, eps)
    assert silent.shape == (64,)
    assert silent.mean().item() == pytest.approx(1, abs=4 / (64 * 192 / 2) ** 0.5)    # 4 standard errors of eps^2


def test_stratified_steps_cover_every_index_equally():
    g = torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.cat([stratified_t(32, 100, g) for _ in range(2000)]), minlength=100)
    assert len(counts) == 100
    assert ((counts - 640).abs() < 6 * 640**0.5).all()
    t = stratified_t(100, 100, g)
    assert t.tolist() == list(range(100))                                   # one from each hundredth
