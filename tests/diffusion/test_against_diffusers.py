"""The same tables and the same whole trajectories as diffusers, from the same noise and the same network."""
import pytest
import torch

from lib.diffusion.process import predict_x0
from lib.diffusion.samplers import SAMPLERS, timesteps
from lib.diffusion.schedules import make_schedule

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed (pip install -e '.[test]')")
NAMES = {"linear": {"beta_schedule": "linear"}, "cosine": {"beta_schedule": "squaredcos_cap_v2"}}
T = 1000


def settings(name, **more):
    return NAMES[name] | {"num_train_timesteps": T, "timestep_spacing": "linspace"} | more


def network(x, t):
    """Some smooth function of image and time, nearly the noise where there is much of it."""
    return torch.tanh(1.2 * x) + 0.1 * torch.sin(x.roll(1, -1) + t / 100)


def ours(name, sampler, times, x, noise, **options):
    s = make_schedule(name, T)

    def predict(x, t):
        return predict_x0(s, x, torch.full((len(x),), t), network(x, t)).clamp(-1, 1)

    *_, (_, x, _) = SAMPLERS[sampler](predict, s.alphas_cumprod.tolist() + [1.0], times, x, noise, **options)
    return x


def theirs(scheduler, times, x, **options):
    assert scheduler.timesteps.tolist() == times
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, int(t)), t, x, **options).prev_sample
    return x


def start(seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, 8, 8, generator=g, dtype=torch.float64), g


# diffusers keeps its tables in float32: a relative error of 1e-5 in alphas_cumprod under cosine, carried along
CLOSE = {"rtol": 2e-4, "atol": 2e-4}


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_the_same(name):
    ours, theirs = make_schedule(name, T), diffusers.DDPMScheduler(**settings(name))
    torch.testing.assert_close(ours.betas.float(), theirs.betas, rtol=1e-4, atol=1e-8)       # their float32 1 - beta
    torch.testing.assert_close(ours.alphas_cumprod.float(), theirs.alphas_cumprod, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("sampler, variance", [("ancestral", "fixed_small"), ("ancestral-large", "fixed_large")])
@pytest.mark.parametrize("steps", [25, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_ancestral_sampling_is_their_ddpm(name, steps, sampler, variance):
    times = timesteps(make_schedule(name, T), steps)
    scheduler = diffusers.DDPMScheduler(**settings(name, variance_type=variance, clip_sample=True))
    scheduler.set_timesteps(steps)
    x, g = start()
    expected = theirs(scheduler, times, x, generator=g)
    x, g = start()
    torch.testing.assert_close(ours(name, sampler, times, x, lambda: torch.randn(x.shape, generator=g, dtype=x.dtype)),
                               expected, **CLOSE)


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("name", NAMES)
def test_ddim_is_their_ddim(name, eta):
    """All T steps: with fewer, diffusers' DDIM takes t - T//n for the next time, which is not the next one it visits."""
    times = timesteps(make_schedule(name, T), T)
    scheduler = diffusers.DDIMScheduler(**settings(name, clip_sample=True, set_alpha_to_one=True))
    scheduler.set_timesteps(T)
    x, g = start()
    expected = theirs(scheduler, times, x, eta=eta, use_clipped_model_output=True, generator=g)
    x, g = start()
    torch.testing.assert_close(ours(name, "ddim", times, x, lambda: torch.randn(x.shape, generator=g, dtype=x.dtype), eta=eta),
                               expected, **CLOSE)


@pytest.mark.parametrize("target, theirs_name", [("eps", "epsilon"), ("x0", "sample"), ("v", "v_prediction")])
@pytest.mark.parametrize("name", NAMES)
def test_targets_are_their_prediction_types(name, target, theirs_name):
    scheduler = diffusers.DDPMScheduler(**settings(name, prediction_type=theirs_name, clip_sample=False))
    scheduler.set_timesteps(T)
    x, _ = start()
    for t in (0, 10, 500, 900):
        output = network(x, t)
        expected = scheduler.step(output, t, x, generator=torch.Generator()).pred_original_sample
        told = predict_x0(make_schedule(name, T), x, torch.full((len(x),), t), output, target)
        torch.testing.assert_close(told, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("steps", [5, 20, 50])
@pytest.mark.parametrize("name", NAMES)
def test_dpm_solver_is_their_dpm_solver(name, steps):
    scheduler = diffusers.DPMSolverMultistepScheduler(**settings(
        name, algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint", final_sigmas_type="zero",
        thresholding=True, dynamic_thresholding_ratio=1.0, sample_max_value=1.0))                # = clip to [-1, 1]
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps.tolist()
    x, _ = start()
    expected = theirs(scheduler, times, x)
    torch.testing.assert_close(ours(name, "dpm++2m", times, x, lambda: torch.zeros_like(x)), expected, **CLOSE)
