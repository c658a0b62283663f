import math
import typing

import pytest
import torch

from lib import InputError
from lib.parameters import SchedulesConfig, TrainConfig
from lib.schedules import SCHEDULES, from_betas, make_schedule, noise_gain, redundant_steps, snr


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("T", [2, 10, 100, 1000, 4000])
def test_every_schedule_ends_in_noise_and_only_ever_loses_signal(name, T):
    s = make_schedule(name, T)
    assert s.T == T and s.betas.dtype == torch.float64
    assert ((s.betas > 0) & (s.betas < 1)).all()
    assert (s.alphas_cumprod.diff() < 0).all()
    assert s.alphas_cumprod[-1] < 1e-2


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
    with pytest.raises(InputError, match="'cosin'.*'linear', 'cosine'"):
        make_schedule("cosin", 10)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1, float("nan")])
def test_betas_outside_0_1_are_refused(beta):
    with pytest.raises(InputError, match="between 0 and 1"):
        from_betas("mine", torch.tensor([0.1, beta]))


def test_one_step_is_refused():
    with pytest.raises(InputError, match="T=1"):
        make_schedule("linear", 1)


def test_parameters_accept_exactly_the_schedules_there_are():
    rule = typing.get_type_hints(TrainConfig, include_extras=True)["schedule"].__metadata__[0]
    assert rule.accepted == "one of " + ", ".join(map(repr, SCHEDULES))
    rule = typing.get_type_hints(SchedulesConfig, include_extras=True)["schedules"].__metadata__[0]
    assert all(rule.accepts([name]) for name in SCHEDULES)
