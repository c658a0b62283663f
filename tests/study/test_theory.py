"""The pixel -1 or +1, against sums and simulations; the tables of schedules, against the papers' numbers."""
import math

import pytest
import torch

from lib.diffusion import schedules as sch
from lib.study import theory

PAIR = [sch.make_schedule(name, 1000) for name in ("linear", "cosine")]


def source(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("ac", [0.02, 0.5, 0.97])
def test_the_best_estimate_is_bayes_rule(ac):
    ac, x = torch.tensor(ac, dtype=torch.float64), torch.linspace(-3, 3, 13, dtype=torch.float64)
    up, down = (torch.exp(-(x - sign * ac.sqrt()) ** 2 / (2 * (1 - ac))) for sign in (1, -1))
    torch.testing.assert_close(theory.best_estimate(ac, x), (up - down) / (up + down))


@pytest.mark.parametrize("log_snr", [-3.0, 0.0, 2.0])
def test_its_error_and_the_errors_spread_are_those_of_a_simulation(log_snr):
    n, lam = 200_000, torch.tensor(log_snr, dtype=torch.float64)
    ac = torch.sigmoid(lam)
    xt = ac.sqrt() + (1 - ac).sqrt() * source()(n)                         # of the pixel +1
    squared = (1 - theory.best_estimate(ac, xt)) ** 2
    assert float(theory.best_error(lam)) == pytest.approx(float(squared.mean()), abs=4 * float(squared.std()) / n**0.5)
    fourth = squared**2
    expected = float(theory.best_error_spread(lam)) ** 2
    assert expected == pytest.approx(float(fourth.mean()), abs=4 * float(fourth.std()) / n**0.5)


def test_the_pixels_bound_tends_to_its_one_bit():
    excess = [theory.bits_per_step(sch.make_schedule("cosine", T)).sum().item() - 1 for T in (100, 400, 1600)]
    assert 0 < excess[2] < excess[1] / 3 < excess[0] / 9                   # about 1 / T


def test_an_error_of_the_first_step_is_the_noise_gain_times_that_of_the_network():
    for s in PAIR:
        ac, gain = s.alphas_cumprod[-1], sch.noise_gain(s)[-1]
        wrong = theory.first_step_errors(s, 0.05, source(), 40_000)
        four_errors = 4 / (2 * 40_000) ** 0.5
        for kind, sd in (("estimate", (1 / ac - 1).sqrt()), ("plain", gain), ("v", gain * ac.sqrt())):
            assert float(wrong[kind].std()) == pytest.approx(0.05 * float(sd), rel=four_errors), kind
        bound = 2 * s.alphas_cumprod_prev[-1].sqrt() * s.betas[-1] / (1 - ac)
        assert wrong["clipped"].abs().max() <= bound


def test_without_errors_the_way_back_ends_with_the_pixels_spread():
    """-1 or +1: standard deviation 1, and its own is 1 / sqrt(2n) at most."""
    walk = theory.way_back(sch.make_schedule("cosine", 200), 0.0, source(), members=4000)
    assert all(values[-1] == pytest.approx(1, abs=4 / 8000**0.5) for values in walk.spreads.values())
    assert set(walk.lost.values()) == {0.0}


def test_only_a_network_that_saturates_needs_the_clip_and_only_under_cosine():
    walks = {name: theory.way_back(sch.make_schedule(name, 200), 0.1, source(), members=2000)
             for name in ("linear", "cosine")}
    table = theory.ends(walks)
    assert table.index.names == ["schedule", "network and sampler"] and len(table) == 8
    assert table["% of pixels lost"]["cosine", "saturates, plain"] > 1
    others = table.drop(("cosine", "saturates, plain"))
    assert (others["% of pixels lost"] == 0).all() and (others["at the end"] - 1).abs().max() < 0.05


def test_the_facts_are_those_of_the_papers():
    facts = theory.facts(PAIR)
    assert facts.loc["linear", "signal_at_T"] == pytest.approx(4.04e-5, rel=2e-3)
    assert facts.loc["linear", "prior_kl_bits"] < 1e-4                     # Ho et al., section 4: about 1e-5
    assert facts.loc["cosine", "first_noise_gain"] == pytest.approx(0.999 / 0.001**0.5, rel=1e-3)
    assert facts.loc["linear", "redundant_steps"] == 327 and facts.loc["cosine", "largest_gain_at"] == 999


def test_the_offset_that_makes_one_bin_does():
    table = theory.cosine_offsets(Ts=(1000, 4000), offsets=(0.0, 0.004, 0.008, 0.016))
    for T, s in table["s that gives 1"].items():
        assert 127.5 * sch.cosine_betas(T, s)[0].sqrt().item() == pytest.approx(1, abs=1e-9)
    assert 0.8 < table.loc[1000, "s = 0.008"] < 1                          # "slightly smaller than the pixel bin size"


def test_the_gain_of_a_clipped_schedule_is_its_clip():
    u = torch.arange(1001, dtype=torch.float64) / 1000
    f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    table = theory.clipped_gains(1 - f[1:] / f[:-1])
    assert table["noise gain"].tolist() == pytest.approx(table["c / sqrt(1 - c)"].tolist(), rel=1e-3)


def test_the_prior_cost_is_the_integral():
    table = theory.prior_costs(PAIR, 0.4)
    assert table["formula"].tolist() == pytest.approx(table["integral"].tolist(), rel=1e-4)


def test_redundant_steps_hold_few_of_the_bits():
    table = theory.redundant(PAIR)
    assert table.loc["linear", "% of the steps"] == pytest.approx(32.7)
    assert (table["% of the bits"] < 2).all()
