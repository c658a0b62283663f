"""What a plan costs on this machine, from some ten seconds of timing: a rough number, to decide where to run it."""
import time

from lib import data
from lib.engine.parameters import AugmentConfig, ExternalConfig, GenerateConfig, TrainConfig
from lib.engine.plan import trained
from lib.study import ARMS, FREE

KNOWN = TrainConfig, ExternalConfig      # of the runs that read real images
OTHERS = 20             # seconds of a run beside its main work: its kernel, figures, measures


def core_hours(plan, labels):
    """{step: core-hours} of the runs `labels` of a plan, on cores of this machine. Those of images whose size is not
    known before they are read are left out, and runs that only compare others."""
    hours, seconds = {}, {}
    for job in (job for job in plan.jobs if job.label in labels):
        train = trained(job)
        if train is None or not isinstance(train.config, KNOWN) or not side_of(train.config):
            continue
        of_one, count = (None, 0) if job.step == "external" else work(job, train.config)
        if count and of_one not in seconds:
            seconds[of_one] = timed(*of_one)
        hours[job.step] = hours.get(job.step, 0) + (seconds.get(of_one, 0) * count + OTHERS) / 3600
    return hours


def sentence(hours):
    """What `core_hours` says in a sentence, "" for nothing."""
    if not hours:
        return ""
    unit, times, digits = ("core-hours", 1, 1) if sum(hours.values()) >= 1 else ("core-minutes", 60, 0)
    parts = ", ".join(f"{step} {times * value:.{digits}f}" for step, value in hours.items())
    return (f"about {times * sum(hours.values()):.{digits}f} {unit} on this machine ({parts}), timed just now, without "
            "a GPU or compilation")


def side_of(train):
    """The side of a training's images, 0 where that is not known before they are read."""
    return train.size or (train.dataset == "digits" and train.canvas) or data.SIDE.get(train.dataset, 0)


def shape_of(train):
    return 3 if train.dataset in ("cifar10", "folder") else 1, side_of(train), side_of(train)


def work(job, train):
    """((what is timed, with what), how many times of it a run takes). train: the config of the run that reads the real
    images."""
    config, shape = job.config, shape_of(train)
    if isinstance(train, TrainConfig):
        unet = (("patch", train.patch), ("channels", train.channels), ("channel_mult", tuple(train.channel_mult)),
                ("num_res_blocks", train.num_res_blocks), ("attn_resolutions", tuple(train.attn_resolutions)))
    if isinstance(config, TrainConfig):
        from lib.diffusion.training import parts_of
        parts = parts_of(steps=config.steps, batch=config.batch, rungs=config.rungs)
        return ("training", shape, unet, config.batch), sum(map(len, parts))
    if isinstance(config, GenerateConfig):
        calls = config.sample_steps * (1 if config.guidance == 1 else 2) * (2 if config.sampler == "heun" else 1)
        return ("sampling", shape, unet, 100), images(config.images_per_class, len(train.classes) or 10) * calls / 100
    networks = len({trained(generation).config.data_seed for generation in job.upstream})
    if isinstance(config, AugmentConfig):
        settings, needs = len({g.family for g in job.upstream}), {ARMS[arm].needs for arm in config.arms}
        rivals = any(ARMS[arm].group == FREE for arm in config.arms)
        trainings = len(config.arms) + settings - ("oracle" in needs)           # the one more: equal presentations
        main = 1 + settings + ("further" in needs) + 2 * rivals                 # arms that take their own optimum
        trainings += sum(config.optimum_steps) * main * len(config.lrs) + 2 * (len(config.lrs) - 1)
    else:
        trainings = len(config.ratios) + len(config.shares) + 2 * len(config.real_fractions) + sum(config.optimum_steps)
    what = "classifier", shape, config.classifier, tuple(config.widths), config.batch
    return what, trainings * (networks if networks > 1 else config.seeds) * config.steps


def images(per_class, classes):
    """How many images a number of each class, a list, {class: number} or {"fill": number} asks for, at most."""
    if isinstance(per_class, dict):
        return per_class["fill"] * classes if list(per_class) == ["fill"] else sum(per_class.values())
    return sum(per_class) if isinstance(per_class, list) else per_class * classes


def timed(what, shape, *rest):
    """Seconds that one update, or one call of a network with a batch, takes on one core: the fastest of a few."""
    import torch
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        make = {"training": training, "sampling": sampling, "classifier": classifier}[what]
        return min(fastest_of(make(shape, *rest, precision)) for precision in precisions())
    finally:
        torch.set_num_threads(threads)


def precisions():
    from lib.diffusion.devices import has_bfloat16
    return ("fp32", "bf16") if has_bfloat16() else ("fp32",)


def fastest_of(call, seconds=0.7):
    """The least processor time of a call, tried for about so many seconds, and at least twice."""
    call()
    taken, end = [], time.process_time() + seconds
    while len(taken) < 2 or time.process_time() < end:
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def unet(shape, options, precision):
    import torch

    from lib.diffusion.devices import Forward
    from lib.diffusion.unet import UNet
    network = UNet(image_channels=shape[0], image_size=shape[1], num_classes=10, **dict(options))
    return Forward(network.to(memory_format=torch.channels_last), precision, "off")


def training(shape, options, batch, precision):
    import torch
    forward = unet(shape, options, precision)
    x, y = torch.randn(batch, *shape), torch.zeros(batch, dtype=torch.long)
    return lambda: forward(x, torch.full((batch,), 5), y).square().mean().backward()


def sampling(shape, options, batch, precision):
    import torch
    forward = unet(shape, options, precision)
    x, y = torch.randn(batch, *shape), torch.zeros(batch, dtype=torch.long)

    def call():
        with torch.no_grad():
            forward(x, torch.full((batch,), 5), y)
    return call


def classifier(shape, name, widths, batch, precision):
    import torch

    from lib.study.classifiers import kind, loss_of
    model = kind(name)(shape, 10, list(widths))
    x, y = torch.randn(1, batch, *shape), torch.zeros(1, batch, dtype=torch.long)
    return lambda: loss_of(model, x, y, precision=precision if model.large else "fp32").backward()
