"""Time to a given quality: our recipe beside two libraries as their own pages set them up, on CIFAR-10 at 32x32.

Each side trains for the same processor time on one core, on the same images; its synthetic images meet the same judge.
A side's number of updates is set beforehand, by timing a few, because learning rates fall to the end of a training.
"""
import statistics
import sys
import time

import numpy as np
import torch

from lib.bench import peers
from lib.data.images import to_uint8
from lib.diffusion.checkpoints import load_tensors, save_tensors
from lib.diffusion.samplers import class_labels, generate
from lib.diffusion.schedules import from_betas, make_schedule
from lib.diffusion.training import train_ddpm
from lib.diffusion.unet import UNet
from lib.study.classifiers import CNN
from lib.study.quality import Judge, density_and_coverage, frechet_distance, train_judge

NETWORK = {"patch": 2, "channels": 32, "channel_mult": (1, 2), "num_res_blocks": 2, "attn_resolutions": ()}
TRAINING = {"batch": 64, "lr": 2e-3, "target": "v", "loss_weight": "min-snr", "flip": True,
            "ema_halflife_images": 50_000}
WARMUP = 200        # updates, at most a tenth of a training
SAMPLERS = ({"sampler": "dpm++2m", "steps": 20, "spacing": "log-snr"}, {"sampler": "ancestral", "steps": 40})
JUDGE = {"widths": (32, 64, 128), "steps": 1600, "batch": 128, "lr": 3e-3, "seed": 100}
IMAGES, UPDATES, FEWER = 500, 8, 5      # synthetic images; updates of a timed round; the goal: times fewer minutes


# ---------------------------------------------------------------- the sides
# Each is a function of (Images, number of updates) that gives the network that trains, an iterator that does UPDATES of
# them at a time, and what `generate` needs of the result.
def ours(train, steps):
    """Network and training of the plan cifar10-laptop."""
    torch.manual_seed(0)
    net = UNet(image_channels=3, image_size=32, num_classes=len(train.classes), **NETWORK)
    net, table = net.to(memory_format=torch.channels_last), make_schedule("cosine", 1000)
    rounds = train_ddpm(net, table, train.images, train.labels, steps=steps, log_every=UPDATES,
                        warmup_steps=min(WARMUP, steps // 10), **TRAINING)
    return net, rounds, {"model": net, "guidance": 1.5}


def diffusers(train, steps):
    """UNet2DModel and loop of the tutorial "Train a diffusion model", with class labels; warm-up at most a tenth."""
    net, rounds = peers.tutorial_diffusers(train.images, train.labels, steps, UPDATES)

    def model(x, t, y):
        return net(x, t, class_labels=y).sample

    model.trained = make_schedule("linear", 1000), "eps"
    return net, rounds, {"model": model}


def lucidrains(train, steps):
    """denoising-diffusion-pytorch with the defaults of its Unet, GaussianDiffusion and Trainer. It knows no labels."""
    net, ema, rounds = peers.default_lucidrains(train.images, steps, UPDATES)

    def model(x, t, y):
        return ema.ema_model.model(x, t)

    model.trained = from_betas("its own", net.betas), "v"
    return net, rounds, {"model": model}


# ---------------------------------------------------------------- measurement
def train_for(side, train, seconds):
    """What `generate` needs, and {updates, seconds, parameters} of a training of about `seconds` of one core's time."""
    torch.set_num_threads(1)
    _, rounds, _ = side(train, 4 * UPDATES)
    times = []
    for _ in range(3):
        start = time.process_time()
        next(rounds)
        times.append(time.process_time() - start)
    updates = max(1, int(seconds / statistics.median(times[1:]))) * UPDATES
    net, rounds, result = side(train, updates)
    start = time.process_time()
    for _ in rounds:
        pass
    count = sum(p.numel() for p in net.parameters())
    return result, {"updates": updates, "seconds": time.process_time() - start, "parameters": count}


def judged(judge, real, labels, images, knows_labels=True):
    """{agreement, frechet, coverage} of synthetic images made for `labels`, beside features of real test images."""
    features = judge.features(images)
    right = judge.probabilities(images).argmax(1) == labels.numpy()
    return {"agreement": 100 * float(right.mean()) if knows_labels else None,
            "frechet": frechet_distance(real, features),
            "coverage": density_and_coverage(real[:2 * len(images)], features)[1]}


def best_of(judge, real, result, name):
    """The row of the sampler of SAMPLERS whose images have the least Frechet distance: no side gets a foreign one."""
    labels, rows = class_labels(10, IMAGES // 10), []
    for options in SAMPLERS:
        sampler, images = f"{options['sampler']}, {options['steps']}", []
        for part in generate(labels=labels, image_shape=(3, 32, 32), batch=100, **result, **options):
            images.append(part["images"])
            tell(f"{name}: {part['done']:,}/{IMAGES} images, {sampler}")
        rows.append({"sampler": sampler}
                    | judged(judge, real, labels, to_uint8(torch.cat(images)), knows_labels=name != "lucidrains"))
    return min(rows, key=lambda row: row["frechet"])


def tell(text):
    print(text, file=sys.stderr, flush=True)


LINE = "{:<12}{:>9}{:>10}{:>10}{:>14}{:>10}{:>10}  {:<16}{}"
HEAD = "side", "minutes", "updates", "M param.", "agreement", "Frechet", "coverage", "sampler", "met"


def line(row):
    if row.get("missing"):
        return f"{row['side']:<12}not installed"
    agreement = "-" if row["agreement"] is None else f"{row['agreement']:.1f} %"
    return LINE.format(row["side"], f"{row['minutes']:.2g}", f"{row['updates']:,}", f"{row['parameters'] / 1e6:.2f}",
                       agreement, f"{row['frechet']:.1f}", f"{row['coverage']:.2f}", row["sampler"],
                       {True: "yes", False: "NO"}.get(row.get("met"), "")).rstrip()


def judge_of(train, file, code):
    """The judge that a call with the same `code` left in `file`, or else a new one, which is kept there."""
    weights, about = load_tensors(file) if file.exists() else ({}, {})
    if about.get("code") != code:
        tell("the judge: training")
        judge = train_judge(train, **JUDGE)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(file, judge.net.state_dict(), {"code": code, "name": judge.name})
        return judge
    net = CNN(tuple(train.images.shape[1:]), len(train.classes), widths=JUDGE["widths"]).nets[0]
    net.load_state_dict(weights)
    return Judge(about["name"], net.requires_grad_(False).eval())


def meet(split, file, code):
    """The judge, its features of the test images, and {judge_right, frechet_reference}. file, code: as in `judge_of`"""
    judge = judge_of(split.train, file, code)
    right = float((judge.probabilities(split.test.images).argmax(1) == split.test.labels.numpy()).mean())
    real = judge.features(split.test.images)
    half = np.random.default_rng(0).permutation(len(real))
    reference = frechet_distance(real[half[:len(half) // 2]], real[half[-IMAGES:]])
    return judge, real, {"judge_right": right, "frechet_reference": reference}


def rows(minutes, split, judge, real, found, threads):
    """Train, sample and judge each side that has no row in `found` yet; adds each row to it, and yields it.

    Only the training is timed, on one thread; images are made on as many as `threads`. The first row is
    ours after minutes / FEWER, then come the libraries after `minutes`, last ours after as many. met: whether ours, in
    FEWER times less, has no larger Frechet distance.
    """
    for name, side, share in SIDES[len(found):]:
        row = {"side": name, "minutes": minutes * share}
        try:
            tell(f"{name}: {row['minutes']:.2g} minutes of training")
            result, cost = train_for(side, split.train, 60 * row["minutes"])
            torch.set_num_threads(threads)
            row |= cost | best_of(judge, real, result, name)
            if name != "ours":
                row["met"] = found[0]["frechet"] <= row["frechet"]
        except ImportError:
            row["missing"] = True
        found.append(row)
        yield row


SIDES = (("ours", ours, 1 / FEWER), ("diffusers", diffusers, 1), ("lucidrains", lucidrains, 1), ("ours", ours, 1))
