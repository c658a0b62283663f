"""The bench: our training and sampling against those of other libraries (peers), at the same work and in one run.

A case has several sides, ours first, which take turns, A B C A B C ..., so that what else the machine does meets all of
them alike; a ratio is the median over the rounds of the ratio within each. Time on a CPU is the process's CPU time at
one thread, on a GPU the wall time between synchronisations. Ours is the code that the notebooks call.
"""
import ctypes
import dataclasses
import functools
import hashlib
import importlib.metadata
import math
import os
import statistics
import time
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lib import ROOT, InputError, data
from lib.bench import peers, quality
from lib.bench.peers import CLASSES, Job, T
from lib.data.images import Images
from lib.diffusion.devices import Forward, channels_last, pick_device
from lib.diffusion.samplers import generate
from lib.diffusion.schedules import make_schedule
from lib.diffusion.training import train_ddpm
from lib.diffusion.unet import UNet
from lib.report import runs
from lib.study.classifiers import CNN, MLP, Batches, train_classifier

PEERS = ("diffusers", "denoising-diffusion-pytorch")
FILE = ROOT / "reports" / "build" / "bench" / "bench.json"


# ---------------------------------------------------------------- our sides
def our_unet(job):
    options = {k: v for k, v in job.unet.items() if k != "lucidrains"}
    net = UNet(image_channels=job.shape[0], image_size=job.shape[1], num_classes=CLASSES, **options)
    return net.to(job.device, memory_format=torch.channels_last)


def train_ours(job):
    net = our_unet(job)
    return net, train_ddpm(net, make_schedule("linear", T), *job.data(), batch=job.batch, lr=1e-4,
                           steps=job.steps * (job.rounds + 1), log_every=job.steps, compiled=job.compiled)


def sample_ours(job, network=None):
    network, labels = network or our_unet(job).eval(), job.labels().cpu().repeat(job.rounds + 1)
    network.trained = make_schedule("linear", T), "eps"
    walked = network if isinstance(network, Nothing) else Forward(network, compiled=job.compiled)
    return network, generate(walked, labels, batch=job.batch, image_shape=job.shape, sampler="ddim", steps=job.steps)


class Nothing(nn.Module):
    def __init__(self, device):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, device=device))        # where `generate` works

    def forward(self, x, t, y):
        return x


def sampler_alone(job):
    """Our sampler with a network that does nothing: its time beside the network's."""
    return sample_ours(job, Nothing(job.device))


def classify_ours(job):
    make, widths = job.classifier
    net = make(job.shape, CLASSES, widths, members=job.members).to(job.device)
    batches = Batches([Images(*job.data(), tuple(map(str, range(CLASSES))))], batch=job.batch, members=job.members,
                      device=job.device)
    return net, train_classifier(net, batches, steps=job.steps * (job.rounds + 1), lr=1e-3, log_every=job.steps)


# ---------------------------------------------------------------- the cases
@dataclasses.dataclass(frozen=True)
class Case:
    """goals: the least that ours is in multiples of a side (of the sampler alone: the most); share: the least share of
    the ceiling that ours reaches. Those of CASES are for a CPU."""

    job: Job
    sides: dict
    goals: dict
    share: float = None


LARGE = {"channels": 64, "channel_mult": (1, 2, 2, 2), "num_res_blocks": 2, "attn_resolutions": (16,), "lucidrains": 72}
SMALL = {"channels": 32, "channel_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (), "lucidrains": 30}
TRAIN = {"ours": train_ours, "diffusers": peers.train_diffusers, "lucidrains": peers.train_lucidrains}
SAMPLE = {"ours": sample_ours, "diffusers": peers.sample_diffusers, "sampler alone": sampler_alone}
CLASSIFY = {"ours": classify_ours, "scikit-learn": peers.classify_sklearn, "plain loop": peers.classify_resident,
            "DataLoader": peers.classify_loader, "transforms, DataLoader": peers.classify_pictures}
CIFAR, DIGITS = (3, 32, 32), (1, 8, 8)
SAMPLING = {"diffusers": 1.25, "sampler alone": 0.03}


def sides(*names):
    return {name: CLASSIFY[name] for name in ("ours", *names)}


CASES = {                                                       # rounds of 0.1 to 3 s on a laptop's core
    "train-32x32": Case(Job(CIFAR, 16, 1, unet=LARGE), TRAIN, {"diffusers": 1.35}, share=0.7),
    "train-8x8": Case(Job(DIGITS, 64, 4, unet=SMALL), TRAIN, {"diffusers": 1.25}),
    "sample-32x32": Case(Job(CIFAR, 16, 2, unet=LARGE), SAMPLE, SAMPLING),
    "sample-8x8": Case(Job(DIGITS, 64, 10, unet=SMALL), SAMPLE, SAMPLING),
    "mlp-cifar": Case(Job(CIFAR, 128, 15, classifier=(MLP, (512,))), CLASSIFY,
                      {"scikit-learn": 8, "transforms, DataLoader": 2.5}),
    "mlp-digits": Case(Job(DIGITS, 64, 15, members=16, classifier=(MLP, (256,))),
                       sides("scikit-learn", "plain loop", "DataLoader"), {"scikit-learn": 8}),
    "cnn-cifar": Case(Job(CIFAR, 128, 2, classifier=(CNN, (32, 64, 128))),
                      sides("plain loop", "DataLoader"), {}),
}


def on_gpu(case):
    """The same case with as much work as fills a GPU, the U-Net at Ho et al.'s width, and a GPU's goals."""
    job, unet = case.job, case.job.unet
    if case.share:
        return Case(dataclasses.replace(job, batch=256, steps=10, unet=unet | {"channels": 128, "lucidrains": 144}),
                    case.sides, {"diffusers": 4}, share=0.45)
    return Case(dataclasses.replace(job, batch=job.batch * 16, steps=job.steps * 10), case.sides, {})


# ---------------------------------------------------------------- measurement
# Square products and 3x3 convolutions as in U-Nets. The best rate among them is the machine's ceiling, of which a side
# reaches a share. A product alone is none: on some processors convolutions are half as fast again.
CEILING = {"cpu": {"product 1024": (1024,), "product 2048": (2048,),           # size, or batch, channels, side
                   "convolution 64 at 32x32": (16, 64, 32), "convolution 128 at 16x16": (32, 128, 16),
                   "convolution 128 at 32x32": (16, 128, 32)},
           "cuda": {"product 8192": (8192,), "convolution 128 at 32x32": (1024, 128, 32),
                    "convolution 256 at 16x16": (1024, 256, 16)}}
TIMES = {"cpu": 2, "cuda": 20}                                                  # in a round


def ceiling(shape):
    """A side that does nothing but one product or convolution; float32, on a GPU bfloat16."""
    def start(job):
        kind = {"device": job.device, "dtype": torch.float32 if job.device.type == "cpu" else torch.bfloat16}
        if len(shape) == 1:
            a, b = torch.randn(2, *shape, *shape, **kind)
            work = functools.partial(torch.mm, a, b)
        else:
            batch, channels, side = shape
            x, weight = torch.randn(batch, channels, side, side, **kind), torch.randn(channels, channels, 3, 3, **kind)
            work = functools.partial(nn.functional.conv2d, channels_last(x), channels_last(weight), padding=1)

        @torch.no_grad()
        def rounds():
            while True:
                for _ in range(TIMES[job.device.type]):
                    work()
                yield

        return None, rounds()
    return start


def timed(rounds, device):
    """Seconds of the next round."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = clock()
    next(rounds)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def memory(device, start=False):
    """Peak bytes since the last start: of the GPU, or of this process as Linux counts them; None on other systems."""
    if device.type == "cuda":
        if start:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    try:
        if start:
            ctypes.CDLL(None).malloc_trim(0)                    # what was freed goes back, and is not counted
            Path("/proc/self/clear_refs").write_text("5")       # the peak is what is held now
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, AttributeError, TypeError, IndexError):
        return None


def warm_up(start, job):
    """The network and rounds of a side after one round, its FLOPs, and the peak bytes that making and doing it took.

    None where its library is not installed. FLOPs are counted on a first copy, not compiled, which is thrown away: so
    neither imports nor compilation are timed.
    """
    try:
        _, rounds = start(dataclasses.replace(job, compiled="off"))
    except ImportError:
        return None
    with FlopCounterMode(display=False) as counter:
        next(rounds)
    before = memory(job.device, start=True)
    network, rounds = start(job)
    next(rounds)
    after = memory(job.device)
    return network, rounds, counter.get_total_flops(), None if after is None else after - before


def run_case(name, case, rounds, device):
    """The rows of a case, one a side: a peer's hold our ratio to it; and the rates of the ceiling's shapes, GFLOP/s.

    A library that is not there gets a row too.
    """
    job = dataclasses.replace(case.job, rounds=rounds, device=device)
    ceilings = {shape: ceiling(CEILING[device.type][shape]) for shape in CEILING[device.type]}
    warm = {side: warm_up(start, job) for side, start in (case.sides | ceilings).items()}
    seconds = {side: [] for side in warm if warm[side]}
    for _ in range(rounds):
        for side, times in seconds.items():
            times.append(timed(warm[side][1], device))
    rates = {shape: warm[shape][2] / statistics.median(seconds[shape]) / 1e9 for shape in ceilings}
    best = max(rates, key=rates.get)
    return [row(name, case, job, side, warm, seconds, best) for side in case.sides], rates


def row(name, case, job, side, warm, seconds, best):
    """The row of a side; best: the shape of the ceiling."""
    found = {"case": name, "side": side, "missing": warm[side] is None}
    if found["missing"]:
        return found
    network, _, flops, peak = warm[side]
    images = job.batch * job.members * (1 if case.sides is SAMPLE else job.steps)
    median = statistics.median(seconds[side])
    share = flops / warm[best][2] * paired(seconds[best], seconds[side])[0]
    found |= {"images": images, "steps": job.steps, "seconds": seconds[side], "images_per_second": images / median,
              "parameters": parameters(network) or None, "gflop_per_image": flops / images / 1e9 or None,
              "share_of_ceiling": share or None, "peak_bytes": peak}
    if side == "ours":
        return found | {"share_goal": case.share, "met": case.share and share >= case.share}
    ratio, low, high = paired(seconds[side], seconds["ours"])
    goal = case.goals.get(side)
    met = goal and (ratio <= goal if side == "sampler alone" else ratio >= goal)
    return found | {"ratio": ratio, "ratio_low": low, "ratio_high": high, "goal": goal, "met": met}


def paired(theirs, ours):
    """Median, lowest and highest of the ratios within each round."""
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def parameters(network):
    if isinstance(network, nn.Module):
        return sum(p.numel() for p in network.parameters())
    return sum(part.size for net in network for part in net.coefs_ + net.intercepts_)       # scikit-learn's


# ---------------------------------------------------------------- the table
HEAD = ("case", "side", "images/s", "M param.", "GFLOP/image", "of ceiling", "MB", "ours is (range)", "goal", "met")
RATIO = ("ratio", "ratio_low", "ratio_high")
LINE = "{:<13}{:<23}{:>9}{:>10}{:>12}{:>11}{:>6}  {:<27}{:<7}{}"


def line(row):
    """A row of the table."""
    first = row["case"] if row["side"] == "ours" else ""
    if row["missing"]:
        return f"{first:<13}{row['side']:<23}not installed"
    count, peak = row["parameters"], row["peak_bytes"]
    values = [(row["images_per_second"], ",.1f"), (count and count / 1e6, ".3f"), (row["gflop_per_image"], ".4f"),
              (row["share_of_ceiling"], ".0%"), (peak and peak / 1e6, ".0f")]
    ratio = [format(row[key], ".2f" if row["ratio"] > 0.1 else ".4f") for key in RATIO if key in row]
    ratio = "{}x ({} to {})".format(*ratio) if ratio else ""
    goal = f"{row['goal']:g}x" if row.get("goal") else f"{row['share_goal']:.0%}" if row.get("share_goal") else ""
    return LINE.format(first, row["side"], *("-" if value is None else format(value, form) for value, form in values),
                       ratio, goal, {True: "yes", False: "NO"}.get(row.get("met"), "")).rstrip()


# ---------------------------------------------------------------- on paper
DEVICES, TRAINED, MADE, CALLS, PART = (1, 8, 64), (10e6, 200e6), 50e6, 20, 0.1


def on_paper(rows):
    """What 1, 8 and 64 devices like this one would take, on paper, from the rates measured here: a list of mappings.

    hours_10m, hours_200m: training on so many images, where every device keeps its batch; batch: of all together.
    hours_made: 50 million images of CALLS network calls each. link_gb_s: GB/s that each device must send and receive
    for the sum of gradients (a ring: 2 (N-1)/N of them, float32) to take a tenth of a step; with a slower one the link
    is the bottleneck, else the products are. images_mb_s: MB/s of uint8 pixels that all devices write.
    """
    ours = {row["case"]: row for row in rows if row["side"] == "ours"}
    if not {"train-32x32", "sample-32x32"} <= set(ours):
        return []
    train, sample = ours["train-32x32"], ours["sample-32x32"]
    batch, pixels = train["images"] // train["steps"], math.prod(CIFAR)
    made = sample["images_per_second"] * sample["steps"] / CALLS
    found = []
    for n in DEVICES:
        sent = 2 * (n - 1) / n * 4 * train["parameters"]
        found.append({"devices": n, "batch": n * batch} | {
            f"hours_{images / 1e6:g}m": images / train["images_per_second"] / n / 3600 for images in TRAINED} | {
            "hours_made": MADE / made / n / 3600, "images_mb_s": made * n * pixels / 1e6,
            "link_gb_s": sent / (PART * batch / train["images_per_second"]) / 1e9})
    return found


def bench(rounds=6, only="", cases=CASES, file=FILE, device="auto", minutes=13):
    """Run the cases whose name begins with `only`; print their rows and write them to `file` with their origin.

    only="quality": time to a given quality instead, `minutes` of processor time a side, into quality.json beside it.
    InputError where no name begins so, for less than one round, and for no minutes.
    """
    chosen = {name: case for name, case in cases.items() if name.startswith(only)}
    if not chosen and only != "quality":
        raise InputError(f"--only {only}: expected one of {', '.join(cases)}, how some of them begin, or quality")
    if rounds < 1:
        raise InputError(f"--rounds {rounds}: expected 1 or more")
    if not minutes > 0:
        raise InputError(f"--minutes {minutes}: expected more than 0")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        if only == "quality":
            return time_to_quality(minutes, Path(file).with_name("quality.json"), threads)
        return speed(rounds, chosen, Path(file), pick_device(device))
    finally:
        torch.set_num_threads(threads)


def origin():
    """Where the numbers come from."""
    # such as AVX2 or AVX512: ratios depend on it
    record = runs.provenance() | {"instructions": torch.backends.cpu.get_cpu_capability(), "load_average": [load()]}
    record["versions"] |= {p: importlib.metadata.version(p) for p in PEERS if runs.found(p)}
    return record


def speed(rounds, cases, file, device):
    record = origin() | {"rounds": rounds, "ceiling_gflops": {}, "rows": []}
    print(f"{record['device']}, {record['instructions']}, one thread, {rounds} rounds, load average {load()}")
    print(LINE.format(*HEAD), flush=True)
    for name, case in cases.items():
        with threadpool_limits(1):                              # scikit-learn's products
            rows, rates = run_case(name, on_gpu(case) if device.type == "cuda" else case, rounds, device)
        print("\n".join(map(line, rows)), flush=True)
        record["rows"] += rows
        record["ceiling_gflops"][name] = rates
        record["load_average"].append(load())
        record["on_paper"] = on_paper(record["rows"])
        runs.write_json(file, record)
    for shape in CEILING[device.type]:
        rates = ", ".join(f"{rates[shape]:,.0f}" for rates in record["ceiling_gflops"].values())
        print(f"{shape} in each case: {rates} GFLOP/s")
    print(f"load average at the end {load()}")
    for row in record["on_paper"]:
        print("{devices} of these: training on 10 million images {hours_10m:,.1f} h, 200 million {hours_200m:,.1f} h; "
              "50 million images made {hours_made:,.1f} h; link for gradients {link_gb_s:.2g} GB/s".format(**row))
    print(f"  {file}")
    return record


def time_to_quality(minutes, file, threads):
    """The record of all sides. The judge and each row are written as they come; a call that was interrupted goes on."""
    record = origin() | {"minutes": minutes, "code": code()}
    print(f"{record['device']}, {record['instructions']}, one thread, {minutes:g} minutes, load average {load()}")
    split = data.load("cifar10")
    judge, real, reference = quality.meet(split, file.with_name("judge.safetensors"), record["code"])
    record |= reference | {"rows": earlier_rows(file, record | reference)}
    print("judge: {:.1%} of test images right; Frechet distance of {} real images {:.2f}".format(
        reference["judge_right"], quality.IMAGES, reference["frechet_reference"]))
    print("\n".join([quality.LINE.format(*quality.HEAD), *map(quality.line, record["rows"])]), flush=True)
    for row in quality.rows(minutes, split, judge, real, record["rows"], threads):
        print(quality.line(row), flush=True)
        record["load_average"].append(load())
        runs.write_json(file, record)
    print(f"  {file}")
    return record


def earlier_rows(file, record):
    """The rows of a call that was interrupted, if it had the origin, the minutes and the judge of `record`."""
    before = runs.read_json(file) if file.exists() else {}
    same = all(before.get(name) == record[name] for name in (
        "code", "versions", "device", "instructions", "minutes", "judge_right"))
    return before["rows"] if same and len(before["rows"]) < len(quality.SIDES) else []


def code():
    """sha256 of all modules of lib: what a commit does not tell where changes are in none."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted((ROOT / "lib").rglob("*.py")))).hexdigest()


def load():
    """Processes that ran or waited, over the last minute; None on Windows."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
