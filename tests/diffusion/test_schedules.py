import math

import pytest
import torch

from lib import InputError
from lib.diffusion.schedules import (
    SCHEDULES,
    from_betas,
    log_snr,
    make_schedule,
    noise_gain,
    prior_kl,
    redundant_steps,
    snr,
)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("T", [2, 4000])
def test_every_schedule_has_tables_in_float64_for_any_T(name, T):
    s = make_schedule(name, T)
    assert s.T == T and s.betas.dtype == s.alphas_cumprod.dtype == s.posterior_variance.dtype == torch.float64


@pytest.mark.parametrize("name, T", [(n, T) for n in SCHEDULES for T in (10, 4000) if n != "linear-unscaled"])
def test_every_schedule_ends_in_noise_at_any_T(name, T):
    assert make_schedule(name, T).alphas_cumprod[-1] < 2e-3


def test_unscaled_linear_betas_leave_a_third_of_the_signal_at_100_steps():
    assert make_schedule("linear-unscaled", 100).alphas_cumprod[-1].item() == pytest.approx(0.36, abs=0.01)
    torch.testing.assert_close(make_schedule("linear-unscaled", 1000).betas, make_schedule("linear", 1000).betas)


def test_sigmoid_is_jabri_et_al_algorithm_1():
    T = 1000
    ac = make_schedule("sigmoid", T).alphas_cumprod
    def sigmoid(v):
        return 1 / (1 + math.exp(-v))
    expected = [(sigmoid(3) - sigmoid(-3 + 6 * t / T)) / (sigmoid(3) - sigmoid(-3)) for t in range(1, T)]
    torch.testing.assert_close(ac[:-1], torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)


def test_quadratic_betas_have_square_roots_in_equal_steps_between_the_linear_ends():
    betas = make_schedule("quadratic", 1000).betas
    torch.testing.assert_close(betas.sqrt().diff().diff(), torch.zeros(998, dtype=torch.float64), rtol=0, atol=1e-15)
    assert betas[[0, -1]].tolist() == pytest.approx([1e-4, 0.02])


@pytest.mark.parametrize("name", SCHEDULES)
def test_prior_kl_is_the_divergence_between_the_two_gaussians(name):
    s = make_schedule(name, 200)
    ac = s.alphas_cumprod[-1]
    q = torch.distributions.Normal(0.8 * ac.sqrt(), (1 - ac).sqrt())
    p = torch.distributions.Normal(torch.zeros_like(ac), torch.ones_like(ac))
    expected = torch.distributions.kl_divergence(q, p).item() / math.log(2)
    assert prior_kl(s, 0.64) == pytest.approx(expected, rel=1e-6, abs=1e-15)   # rel: float64 cancels at ac = 2e-9


def test_log_snr_is_the_logarithm_of_the_ratio():
    s = make_schedule("sigmoid", 50)
    torch.testing.assert_close(log_snr(s).exp() * (1 - s.alphas_cumprod), s.alphas_cumprod)


def test_linear_is_ho_et_al_at_1000_steps():
    s = make_schedule("linear", 1000)
    assert s.betas[0] == 1e-4 and s.betas[-1] == 0.02                       # Ho et al. 2020, section 4
    exact = math.exp(math.fsum(math.log1p(-b) for b in s.betas.tolist()))
    assert s.alphas_cumprod[-1].item() == pytest.approx(exact, rel=1e-12)   # 4.04e-5
    assert exact == pytest.approx(4.04e-5, rel=1e-2)


def test_linear_at_another_T_is_scaled_so_that_the_end_stays_noise():
    assert make_schedule("linear", 100).alphas_cumprod[-1] < 1e-4           # unscaled: 0.36


def test_cosine_is_nichol_and_dhariwal_eq_17():
    T, s = 1000, 0.008
    f = [math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2 for t in range(T + 1)]
    ac = make_schedule("cosine", T).alphas_cumprod
    expected = torch.tensor(f[1:-1], dtype=torch.float64) / f[0]
    torch.testing.assert_close(ac[:-1], expected, rtol=1e-9, atol=0)        # the last beta is clipped at 0.999
    assert ac[-1].item() == pytest.approx(2.4e-9, rel=0.02)


def test_the_first_plain_reverse_step_amplifies_noise_under_cosine_only():
    assert noise_gain(make_schedule("cosine", 1000))[-1].item() == pytest.approx(31.6, abs=0.05)
    assert noise_gain(make_schedule("linear", 1000))[-1].item() == pytest.approx(0.0202, abs=2e-4)


def test_linear_spends_five_times_as_many_steps_on_pure_noise():
    assert redundant_steps(make_schedule("linear", 1000)) == 327
    assert redundant_steps(make_schedule("cosine", 1000)) == 65


def test_snr_is_signal_variance_over_noise_variance():
    s = make_schedule("linear", 50)
    torch.testing.assert_close(snr(s) * (1 - s.alphas_cumprod), s.alphas_cumprod)


def test_unknown_schedule_lists_the_accepted_names():
    with pytest.raises(InputError, match="'cosin'.*'linear', 'cosine', 'sigmoid'"):
        make_schedule("cosin", 10)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1, float("nan")])
def test_betas_outside_0_1_are_refused(beta):
    with pytest.raises(InputError, match="between 0 and 1"):
        from_betas("mine", torch.tensor([0.1, beta]))


def test_one_step_is_refused():
    with pytest.raises(InputError, match="T=1"):
        make_schedule("linear", 1)
