"""Parts of the explorers: pictures, work that takes a while and can be stopped, a switch, the panel of a schedule."""
import asyncio
import base64
import html
import io
import time

import ipywidgets
import numpy as np
import torch
from IPython import get_ipython
from IPython.display import Javascript, display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from lib.data.images import to_float, to_uint8
from lib.diffusion.process import q_sample
from lib.diffusion.schedules import SCHEDULES, cosine_betas, from_betas, log_snr, make_schedule, noise_gain
from lib.report import figures
from lib.report.runs import progress, progress_line


class Picture(ipywidgets.HTML):
    """A PNG with its alt text.

    Not an Output widget: nbclient answers that one's messages on the channel on which it awaits the kernel's reply, and
    then sometimes never sees the reply (its socket wakes up for new messages only): a notebook run that hangs.
    """

    def show(self, png, alt, scale=2):
        """Show PNG bytes, `scale` of their pixels for one of the page, so low that the controls stay in sight."""
        data, width = base64.b64encode(png).decode(), round(int.from_bytes(png[16:20], "big") / scale)
        style = f"max-width:min(100%,{width}px);max-height:58vh"
        self.value = (f'<img decoding="sync" style="{style}" alt="{html.escape(alt)}" '     # sync: no flicker
                      f'src="data:image/png;base64,{data}">')
        self.layout.visibility = "visible"

    def hide(self):
        """Show nothing while another picture is made; its place stays free."""
        self.layout.visibility = "hidden"


NAMES = """\
const name = () => document.querySelectorAll('.widget-slider').forEach(slider => {
  const handle = slider.querySelector('[role=slider]'), label = slider.querySelector('.widget-label');
  if (handle && label) handle.setAttribute('aria-label', label.textContent);
});
name(); new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
"""


def stacked(*parts):
    """An explorer: controls above a picture. Gives its sliders the names for a screen reader that ipywidgets lacks."""
    if get_ipython():
        display(Javascript(NAMES))
    return ipywidgets.VBox(parts)


class Row(ipywidgets.HTML):
    """Small images beside each other, each enlarged by the browser above its name: cheap enough for every step."""

    def show(self, images, alt):
        """images: {name: (C, H, W) uint8}."""
        def one(name, image):
            file = io.BytesIO()
            Image.fromarray(figures.to_pixels(image)).save(file, "PNG")
            data = base64.b64encode(file.getvalue()).decode()
            return (f'<figure style="flex:1 1 0;max-width:150px;margin:0">'
                    f'<img decoding="sync" style="width:100%;image-rendering:pixelated" alt="{html.escape(name)}" '
                    f'src="data:image/png;base64,{data}">'
                    f'<figcaption style="line-height:1.3">{html.escape(name)}</figcaption></figure>')
        self.value = (f'<div role="group" aria-label="{html.escape(alt)}" style="display:flex;gap:10px">'
                      + "".join(one(*pair) for pair in images.items()) + "</div>")


class Film:
    """One picture of a cell that is drawn again and again while the cell runs; its last frame stays in a saved page."""

    def __init__(self):
        self.handle = None

    def show(self, png, alt):
        """Show a frame: PNG bytes with their alt text."""
        data, words = {"image/png": base64.b64encode(png).decode(), "text/plain": alt}, {"image/png": {"alt": alt}}
        if self.handle is None:
            self.handle = display(data, raw=True, display_id=True, metadata=words)
        else:
            self.handle.update(data, raw=True, metadata=words)


def row(*controls):
    """Controls beside each other, and below where the page is narrow; their names are never cut off."""
    for control in controls:
        if hasattr(control.style, "description_width"):
            control.style.description_width = "initial"
        if isinstance(control, ipywidgets.ToggleButtons):
            control.style.button_width = "auto"
        control.layout.margin = "2px 16px 2px 2px"
    return ipywidgets.HBox(controls, layout={"flex_flow": "row wrap"})


def switch(words, turn):
    """A check box. turn() says whether it is on, turn(True) and turn(False) switch it, and say so, too."""
    box = ipywidgets.Checkbox(value=turn(), description=words, indent=False, layout={"width": "auto"})
    line = ipywidgets.Label()

    def tell(_=None):
        line.value = "It is on." if turn(box.value) else "It is off."

    box.observe(tell, "value")
    line.value = "It is on." if box.value else "It is off."
    return ipywidgets.VBox([box, line])


class Now:
    """`draw` for frames that come fast: one in so many seconds; `last` draws the newest one if it was left out."""

    def __init__(self, seconds, draw):
        self.seconds, self.draw, self.drawn, self.waiting = seconds, draw, 0.0, None

    def __call__(self, *args):
        self.waiting = args
        if time.monotonic() - self.drawn > self.seconds:
            self.last()

    def last(self):
        if self.waiting is not None:
            args, self.waiting = self.waiting, None
            self.draw(*args)
            self.drawn = time.monotonic()


class Work(ipywidgets.HBox):
    """Start and Stop, and a line that says how far the work is and how long it takes.

    begin() -> (records, total, unit); the records have a key `done`. last() draws what the line says at the end or at
    Stop. Between two records the kernel hears the controls, so the work runs in the kernel's own loop and needs no
    thread. A new start ends what runs; what was shown stays.
    """

    def __init__(self, begin, start="Start", last=lambda: None):
        self.begin, self.last, self.task = begin, last, None
        self.start_button = ipywidgets.Button(description=start, button_style="primary", icon="play")
        self.stop_button = ipywidgets.Button(description="Stop", icon="stop", disabled=True)
        self.line = ipywidgets.Label()
        self.start_button.on_click(self.start)
        self.stop_button.on_click(self.stop)
        super().__init__([self.start_button, self.stop_button, self.line], layout={"flex_flow": "row wrap"})

    def start(self, _=None):
        self.stop()
        self.task = asyncio.get_running_loop().create_task(self.work())

    def stop(self, _=None):
        if self.task is not None:
            self.task.cancel()

    async def work(self):
        def tell(state):
            self.line.value = progress_line(state)

        mine, state = asyncio.current_task(), {}
        self.stop_button.disabled, self.line.value = False, "starting"
        try:
            records, total, unit = self.begin()
            state = {"done": 0, "total": total, "unit": unit}
            for record in progress(records, total, unit, tell):
                state = {"done": record["done"], "total": total, "unit": unit}
                await asyncio.sleep(0.001)                  # 0 would not let the kernel look for messages
            self.last()
            self.line.value = f"done: {state['done']:,} {unit}"
        except asyncio.CancelledError:
            if self.task is mine and state:
                self.last()
                ended = state["done"] == state["total"]
                self.line.value = f"done: {state['done']:,} {state['unit']}" if ended else (
                    f"stopped at {progress_line(state)}: what was made stays")
        except Exception as error:                          # a task's exception would show nowhere
            self.line.value = f"failed: {error}"
        finally:
            if self.task is mine:
                self.stop_button.disabled = True


# ---------------------------------------------------------------- a schedule
def noised(schedule, images, t, eps):
    """(N, C, H, W) uint8 images at step t with the noise eps, as uint8 (values outside [-1, 1] are cut)."""
    x0 = to_float(images)
    return to_uint8(q_sample(schedule, x0, torch.full((len(x0),), t), eps))


class SchedulePanel:
    """One figure of one place t in one schedule: noised images, alphas_cumprod, log-SNR and noise gain.

    The axes are laid out once; a further picture moves what is in them.
    Faint lines: every schedule of lib.schedules at the same T.
    """

    def __init__(self, images, seed=0):
        """images: (N, C, H, W) uint8, one row of them; seed: of their noise, the same at every t."""
        self.images, self.colour, self.T = images, figures.colours(list(SCHEDULES)), None
        self.eps = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
        self.figure = Figure(figsize=(9.6, 4.5), dpi=140)
        FigureCanvasAgg(self.figure)
        axes = self.figure.subplot_mosaic([["images"] * 3, ["ac", "snr", "gain"]], height_ratios=[1, 2])
        figures.show_sheet(axes["images"], noised(make_schedule("linear", 2), images, 0, self.eps)[None])
        self.sheet, self.title = axes["images"].images[0], axes["images"].set_title(" ")
        axes["ac"].set(ylim=(-0.04, 1.04), title=r"share of signal $\bar\alpha_t$")
        axes["snr"].set(ylim=(-24, 16), title=r"log-SNR $\lambda_t$")
        axes["gain"].set(ylim=(1e-4, 1e2), yscale="log", title="noise gain of a plain reverse step")
        axes["snr"].axhline(0, color="black", lw=0.8, ls=":")
        curves = [axes["ac"], axes["snr"], axes["gain"]]
        self.places = [ax.axvline(0, color="black", lw=0.8, ls="--") for ax in curves]
        self.others = {name: [ax.plot([], [], color=self.colour[name], lw=1, alpha=0.5)[0] for ax in curves]
                       for name in reversed(SCHEDULES)}      # linear over linear-unscaled: one line at T=1000
        self.chosen = [ax.plot([], [], lw=2.5, zorder=3)[0] for ax in curves]
        self.dots = [ax.plot([], [], "o", ms=9, mec="white", zorder=4)[0] for ax in curves]
        for ax in curves:
            ax.set(xlim=(-0.02, 1.02), xlabel="$t/T$")
        handles = [Line2D([], [], color=self.colour[name], lw=2) for name in SCHEDULES]
        axes["ac"].legend(handles, list(SCHEDULES), fontsize=8, loc="lower left", handlelength=1.2)
        self.figure.canvas.draw()
        self.figure.set_layout_engine("none")

    def draw(self, name, T, t, s=0.008):
        """PNG bytes and alt text of step t of the schedule `name` with T steps (s: cosine's offset)."""
        schedule = from_betas(name, cosine_betas(T, s)) if name == "cosine" else make_schedule(name, T)
        if T != self.T:
            self.T = T
            for other, lines in self.others.items():
                set_curves(lines, make_schedule(other, T))
        values = set_curves(self.chosen, schedule)
        for line, dot, place, value in zip(self.chosen, self.dots, self.places, values, strict=True):
            line.set_color(self.colour[name])
            dot.set_markerfacecolor(self.colour[name])
            dot.set_data([(t + 1) / T], [value[t]])
            place.set_xdata([(t + 1) / T] * 2)
        rows = noised(schedule, self.images, t, self.eps)[None]
        self.sheet.set_data(figures.tile(rows, max(1, round(rows.shape[-2] / 16))))
        ac, snr, gain = (value[t].item() for value in values)
        offset = f", s = {s:.3f}" if name == "cosine" else ""
        self.title.set_text(f"{name}{offset}, step t = {t} of T = {T}: {100 * ac:.3g} % of the signal left, "
                            f"log-SNR {snr:.2f}, noise gain {gain:.3g}")
        file = io.BytesIO()
        self.figure.canvas.print_png(file, pil_kwargs={"compress_level": 1})
        return file.getvalue(), (
            f"The {name} schedule at step {t} of {T}: a row of images with that much noise above three charts with the "
            f"place marked: signal left {100 * ac:.3g} %, log-SNR {snr:.2f}, noise gain {gain:.3g}.")


def set_curves(lines, schedule):
    """Give three lines a schedule's alphas_cumprod, log-SNR and noise gain over t/T, and return these three."""
    values = schedule.alphas_cumprod, log_snr(schedule), noise_gain(schedule)
    for line, value in zip(lines, values, strict=True):
        line.set_data((np.arange(schedule.T) + 1) / schedule.T, value.numpy())
    return values
