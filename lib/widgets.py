"""Explorers for JupyterLab: controls over the same functions and figures that the notebooks use."""
import ipywidgets
import matplotlib.pyplot as plt
import torch

from lib import figures
from lib.data import to_float, to_uint8
from lib.diffusion import q_sample
from lib.schedules import SCHEDULES, make_schedule, noise_gain, snr


def noised(schedule, images, t, eps):
    """(N, C, H, W) uint8 images at step t with the noise eps, as uint8 (values outside [-1, 1] are cut)."""
    x0 = to_float(images)
    return to_uint8(q_sample(schedule, x0, torch.full((len(x0),), t), eps))


def explore_schedules(images, T=1000, seed=0):
    """Choose schedule, T and t; see the noised images and where on the curves they are."""
    eps = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    name = ipywidgets.ToggleButtons(options=list(SCHEDULES), description="schedule")
    steps = ipywidgets.SelectionSlider(options=[10, 50, 100, 250, 500, 1000, 2000, 4000], value=T, description="T")
    share = ipywidgets.FloatSlider(value=0.5, min=0, max=1, step=0.01, description="t / T", continuous_update=True)
    output, colour = ipywidgets.Output(), figures.colours(list(SCHEDULES))

    def redraw(_=None):
        s = make_schedule(name.value, steps.value)
        t = min(int(share.value * s.T), s.T - 1)
        fig, axes = plt.subplots(1, 2, figsize=(9, 3), width_ratios=[1, 1.6])
        for other in SCHEDULES:
            ac = make_schedule(other, s.T).alphas_cumprod
            axes[0].plot((torch.arange(s.T) + 1) / s.T, ac, color=colour[other], label=other)
        axes[0].plot((t + 1) / s.T, s.alphas_cumprod[t], "o", color=colour[s.name], ms=9)
        axes[0].set(xlabel="$t/T$", ylabel=r"$\bar\alpha_t$")
        axes[0].legend()
        figures.show_sheet(axes[1], noised(s, images, t, eps)[None])
        axes[1].set_title(f"t = {t}: signal {100 * s.alphas_cumprod[t]:.2f} %, SNR {snr(s)[t]:.3g}, "
                          f"noise gain {noise_gain(s)[t]:.3g}")
        output.clear_output(wait=True)
        with output:
            figures.show_png(figures.to_png(fig), f"The {s.name} schedule at step {t} of {s.T}: its curve, and images "
                             "with that much noise.", f"{s.name}, step {t} of {s.T}.")

    for control in (name, steps, share):
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([ipywidgets.HBox([name, steps, share]), output])
