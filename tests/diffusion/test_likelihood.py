"""The bound against data whose entropy and best denoiser are known: pixels drawn from a Gaussian, in 256 bins."""
import math

import pytest
import torch

from lib import InputError
from lib.diffusion.likelihood import Bound, bin_log_probability, bits_per_dim
from lib.diffusion.schedules import from_betas, make_schedule
from lib.diffusion.unet import UNet

S2 = 0.0625                                             # variance of the data: 4 standard deviations fit in [-1, 1]
VALUES = torch.arange(256).double() / 127.5 - 1


def distribution():
    """Probability of each of the 256 values for N(0, S2) in bins of width 2/255, the outer ones open."""
    return bin_log_probability(VALUES, torch.zeros(256), S2**0.5).exp()


def entropy():
    p = distribution()
    return -(p * p.clamp(min=1e-300).log2()).sum().item()


def gaussian_images(n):
    g = torch.Generator().manual_seed(0)
    return torch.multinomial(distribution(), n * 64, replacement=True, generator=g).view(n, 1, 8, 8).to(torch.uint8)


def best_eps(schedule, scale=1.0):
    """E[eps | x_t] for pixels from N(0, S2), times `scale`."""
    def eps(x, t, y):
        ac = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        return (scale * (1 - ac).sqrt() / (ac * S2 + 1 - ac)).to(x) * x
    return eps


def bound(schedule, n=200, draws=10_000, scale=1.0):
    *_, last = bits_per_dim(best_eps(schedule, scale), schedule, gaussian_images(n), torch.zeros(n, dtype=torch.long),
                            draws=draws, x0_handling="none")
    return last["bound"]


def expected_steps(schedule):
    """Sum of L_1..L_{T-1} in bits for the best denoiser: (SNR_{t-1} - SNR_t) / 2 times its error S2 / (1 + S2 SNR)."""
    snr = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
    mmse = S2 / (1 + S2 * snr)
    return ((snr[:-1] - snr[1:]) / 2 * mmse[1:]).sum().item() / math.log(2)


def test_bins_hold_all_probability():
    assert distribution().sum().item() == pytest.approx(1, abs=1e-9)
    # a Gaussian's entropy plus the bins per unit, log2(255 / 2)
    assert entropy() == pytest.approx(0.5 * math.log2(2 * math.pi * math.e * S2) + math.log2(127.5), abs=2e-3)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_the_terms_of_the_bound_are_the_exact_ones(name):
    s = make_schedule(name, 200)
    got = bound(s)
    steps = sum(bits for _, bits in got.by_t)
    assert len(got.by_t) == 199 and steps == pytest.approx(expected_steps(s), rel=0.01)     # 12,800 pixels a step
    assert got.bits == pytest.approx(got.prior + got.decoder + steps, rel=1e-6)


def even_log_snr(T):
    """A schedule whose log-SNR falls from 9 (noise about as wide as a bin) to -9 in equal steps."""
    ac = torch.sigmoid(torch.linspace(9, -9, T, dtype=torch.float64))
    return from_betas("even log-SNR", 1 - ac / torch.cat([torch.ones(1), ac[:-1]]))


def test_the_bound_reaches_the_entropy_as_steps_grow():
    """What T steps cost more than the integral of the same error over the SNR, log(1 + S2 SNR) / 2, falls as 1/T."""
    gaps, exact = [], []
    for T in (250, 1000, 4000):
        s = even_log_snr(T)
        gaps.append(bound(s, n=400, draws=1000).bits - entropy())
        first, last = (math.log2(1 + S2 * math.exp(log_snr)) / 2 for log_snr in (9, -9))
        exact.append(expected_steps(s) - (first - last))
    assert gaps == pytest.approx(exact, abs=0.01) and gaps[2] < 0.02


def test_a_worse_network_costs_more_bits():
    s = make_schedule("linear", 100)
    assert bound(s, scale=0.9).bits > bound(s).bits + 0.05


def test_a_few_random_steps_estimate_the_same_sum():
    s = make_schedule("linear", 1000)
    few, all_steps = bound(s, n=400, draws=20), bound(s, n=400)
    assert len(few.by_t) == 20
    assert few.bits == pytest.approx(all_steps.bits, abs=3 * (few.half + all_steps.half))
    assert few.half > all_steps.half


def test_the_interval_narrows_with_the_root_of_the_images():
    s = make_schedule("linear", 50)
    small, large = bound(s, n=100), bound(s, n=1600)
    assert isinstance(large, Bound) and large.n == 1600
    assert small.half / large.half == pytest.approx(4, rel=0.3)


@pytest.mark.parametrize("n, draws", [(1, 10), (10, 1)])
def test_one_image_or_one_draw_is_refused(n, draws):
    with pytest.raises(InputError, match="expected at least 2 of each"):
        bound(make_schedule("linear", 50), n=n, draws=draws)


def test_an_untrained_network_has_the_same_bound_on_pixels_and_on_patches():
    def bits(patch):
        net = UNet(image_channels=1, image_size=8, num_classes=2, channels=8, channel_mult=(1, 2), patch=patch)
        *_, last = bits_per_dim(net, make_schedule("cosine", 50), gaussian_images(4), torch.zeros(4).long(), draws=5)
        return last["bound"]

    assert bits(1) == bits(2) == bits(4)
