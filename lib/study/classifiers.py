"""Classifiers and their training: `members` networks of one shape side by side, each from its own seed.

forward(x): (members, B, C, H, W) in [-1, 1] -> logits (members, B, num_classes). Member m starts from seed + m,
whatever the number of members, so that two arms of a study compare the same initial weights.
"""
import functools
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from lib import InputError
from lib.data.images import to_float
from lib.data.places import in_project
from lib.diffusion import devices
from lib.diffusion.training import Diverged
from lib.seeding import PassOrder, seed_dropout, step_generator


class MLP(nn.Module):
    """Fully connected layers of the given widths with ReLU, the original paper's; all members in one product."""

    normalised, dropout, large = False, 0.0, False

    def __init__(self, image_shape, num_classes, widths=(256,), members=1, seed=0):
        super().__init__()
        self.members, self.num_classes = members, num_classes
        sizes = [math.prod(image_shape), *widths, num_classes]
        generators = [torch.Generator().manual_seed(seed + m) for m in range(members)]
        # He et al. 2015: variance 2 / inputs keeps the signal's size through ReLU layers; 1 / inputs before the softmax
        gains = [2.0] * (len(sizes) - 2) + [1.0]
        self.weights = nn.ParameterList(
            torch.stack([torch.randn(n, m, generator=g) * (gain / n) ** 0.5 for g in generators])
            for n, m, gain in zip(sizes, sizes[1:], gains, strict=False))
        self.biases = nn.ParameterList(torch.zeros(members, 1, m) for m in sizes[1:])
        self.norms = nn.ModuleList(nn.BatchNorm1d(members * m) for m in widths if self.normalised)

    def forward(self, x):
        h = x.flatten(2)
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(b, self.between(h, i - 1) if i else h, w)
        return h

    def between(self, h, i):
        """What stands between layer i and the next. h (members, B, width)"""
        if self.normalised:
            members, batch, width = h.shape
            h = self.norms[i](h.transpose(0, 1).reshape(batch, members * width)).view(batch, members, width)
            h = h.transpose(0, 1)
        return F.dropout(F.relu(h), self.dropout, self.training)


class StrongMLP(MLP):
    """The MLP with what later networks of its kind have: batch normalisation (of each member) and dropout."""

    normalised, dropout = True, 0.25


class Networks(nn.Module):
    """Base of convolutional classifiers: members are networks of their own, `nets`, that run one after another.

    `net` makes one of them. large: each member is trained alone, which is as fast, needs less memory, and loses less
    when it is stopped; and in bfloat16 where that is faster.
    """

    dropout, large = 0.0, False

    def __init__(self, image_shape, num_classes, widths=(32, 64, 128), members=1, seed=0):
        super().__init__()
        self.members, self.num_classes = members, num_classes
        nets = []
        for m in range(members):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed + m)
                nets.append(self.net(image_shape, num_classes, widths))
        self.nets = nn.ModuleList(nets).to(memory_format=torch.channels_last)

    def forward(self, x):
        return torch.stack([net(part.contiguous(memory_format=torch.channels_last))
                            for net, part in zip(self.nets, x, strict=True)])


class CNN(Networks):
    """A small convolutional network, the classifier that the original paper wanted to try: a stage for each width
    (conv, batch norm, ReLU, twice; then halved), global average, linear."""

    @staticmethod
    def net(image_shape, num_classes, widths):
        layers, c = [], image_shape[0]
        for i, width in enumerate(widths):
            layers += [nn.MaxPool2d(2, ceil_mode=True)] if i else []
            for _ in range(2):
                layers += [nn.Conv2d(c, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                c = width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, num_classes))


class ScaledLinear(nn.Linear):
    """A linear layer whose answer is divided by 8, so that a high learning rate does not saturate the softmax."""

    def forward(self, x):
        return super().forward(x) / 8


class Whitened(nn.Module):
    """A first layer that is not trained: patches of 2x2 pixels, decorrelated, at variance 1, and with both signs.

    Jordan 2024 (arXiv:2404.00498), 3.2, takes the eigenvectors of the training patches. Here they are the cosine
    transform over rows, columns and colours, which nearly are those of photographs; batch norm brings each to variance
    1. (B, C, H, W) -> (B, 8 C, H - 1, W - 1)
    """

    def __init__(self, channels):
        super().__init__()
        colours, side = cosine_transform(channels), cosine_transform(2)
        filters = torch.einsum("kc,iy,jx->kijcyx", colours, side, side).reshape(-1, channels, 2, 2)
        self.register_buffer("filters", filters)
        self.scale = nn.BatchNorm2d(len(filters), affine=False)

    def forward(self, x):
        x = self.scale(F.conv2d(x, self.filters))
        return torch.cat([x, -x], 1)


def cosine_transform(n):
    """The orthonormal cosine transform (DCT-II) of n values, a row for each frequency. (n, n)"""
    k = torch.arange(n, dtype=torch.float64)
    rows = torch.cos(math.pi * k[:, None] * (k + 0.5) / n)
    return (rows / rows.norm(dim=1, keepdim=True)).float()


class Airbench(Networks):
    """A convolutional network for 32x32 pixels that learns fast, after airbench of Jordan 2024 (arXiv:2404.00498).

    A fixed layer (`Whitened`), GELU; a stage for each width (conv, halved, batch norm, GELU, conv, batch norm, GELU);
    global maximum, linear. The first filters of a conv begin as the identity. 90 million multiplications for an image
    of 32x32 pixels with widths 48, 128, 128.
    """

    large = True

    @staticmethod
    def net(image_shape, num_classes, widths):
        c, *sides = image_shape
        layers, c = [Whitened(c), nn.GELU()], 8 * c
        small = min(sides) <= 2 ** len(widths)             # else rows and columns that are left over are dropped
        for width in widths:
            layers += [identity(nn.Conv2d(c, width, 3, padding=1, bias=False)), nn.MaxPool2d(2, ceil_mode=small),
                       nn.BatchNorm2d(width), nn.GELU(),
                       identity(nn.Conv2d(width, width, 3, padding=1, bias=False)), nn.BatchNorm2d(width), nn.GELU()]
            c = width
        return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), ScaledLinear(c, num_classes))


def identity(conv):
    """The layer, whose first filters pass on one channel each, as many as there are (Jordan 2024, 3.3)."""
    nn.init.dirac_(conv.weight.data[:conv.in_channels])
    return conv


class ResNet18(Networks):
    """torchvision's ResNet-18 (He et al. 2016), with `widths` of its own. Images below 64 pixels get the first layer of
    the paper's CIFAR-10 networks: 3x3, not halved."""

    large = True

    @staticmethod
    def net(image_shape, num_classes, widths):
        import torchvision
        net, (c, *sides) = torchvision.models.resnet18(num_classes=num_classes), image_shape
        if min(sides) < 64:
            net.conv1, net.maxpool = nn.Conv2d(c, 64, 3, padding=1, bias=False), nn.Identity()
        elif c != 3:
            net.conv1 = nn.Conv2d(c, 64, 7, stride=2, padding=3, bias=False)
        return net


class Own(Networks):
    """Networks that a function of the user's makes: (image_shape, num_classes) -> nn.Module, from float images
    (B, C, H, W) in [-1, 1] to logits (B, num_classes)."""

    large, make, name = True, None, ""

    def net(self, image_shape, num_classes, widths):
        return checked(self.make(image_shape, num_classes), self.name, image_shape, num_classes)


CLASSIFIERS = {"mlp": MLP, "strong-mlp": StrongMLP, "cnn": CNN, "airbench": Airbench, "resnet18": ResNet18}


def kind(name):
    """The class of a classifier: one of CLASSIFIERS, or `Own` with the function FILE.py:FUNCTION, whose path counts
    from the repository. InputError where that is none."""
    if known := CLASSIFIERS.get(name):
        return known
    path, _, function = name.rpartition(":")
    space, file = {"__name__": Path(path).stem}, in_project(path)
    try:
        exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), space)
    except Exception as error:          # whatever the user's file does
        words = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InputError(f"classifier={name!r}: {path} can't be used ({words})") from error
    if not callable(space.get(function)):
        raise InputError(f"classifier={name!r}: {path} has no function {function}: expected one of (image_shape, "
                         "num_classes) that gives a torch.nn.Module")
    return type("Own", (Own,), {"make": staticmethod(space[function]), "name": name})


def checked(net, name, image_shape, num_classes):
    """The user's network. InputError unless it gives a logit of each class for each image."""
    if not isinstance(net, nn.Module):
        raise InputError(f"classifier={name!r}: it gives {type(net).__name__}: expected a torch.nn.Module")
    try:
        with torch.no_grad():
            shape = tuple(net.eval()(torch.zeros(2, *image_shape)).shape)
    except Exception as error:          # as above
        words = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InputError(f"classifier={name!r}: its network fails on images of shape {(2, *image_shape)} ({words})"
                         ) from error
    if shape != (2, num_classes):
        raise InputError(f"classifier={name!r}: its network gives {shape} for 2 images: expected {(2, num_classes)}, a "
                         "logit for each class")
    return net.train()


def together(models, new):
    """`new`, a model with as many members as all `models`, with their weights: the members in their order."""
    if isinstance(new, Networks):
        for net, trained in zip(new.nets, (net for model in models for net in model.nets), strict=True):
            net.load_state_dict(trained.state_dict())
    else:
        states = [model.state_dict() for model in models]
        new.load_state_dict({name: torch.cat([state[name] for state in states]) if value.dim() else value
                             for name, value in states[0].items()})
    return new.eval()


# ---------------------------------------------------------------- training
class Part:
    """The real images of every batch, or the synthetic ones: part(step) -> images (members, n, C, H, W), labels
    (members, n).

    replicates: a list with the `Images` of each replicate, which has as many members as each other; n: how many of them
    are in a batch; seeds: of each member, what its order of images follows. Images move to the device whole.
    """

    def __init__(self, replicates, n, seeds, device):
        each, sizes = len(seeds) // len(replicates), [len(images) for images in replicates]
        self.images = torch.cat([images.images for images in replicates]).to(device)
        self.labels = torch.cat([images.labels for images in replicates]).to(device)
        self.starts = np.cumsum([0, *sizes[:-1]]).repeat(each).tolist()             # of each member's images
        self.orders = [PassOrder(sizes[m // each], n, seed) for m, seed in enumerate(seeds)]

    def __call__(self, step):
        index = torch.stack([start + order(step) for start, order in zip(self.starts, self.orders, strict=True)])
        index = index.to(self.images.device)                                        # (members, n)
        return self.images[index], self.labels[index]


class Batches:
    """What a model's members see: batches(step) -> uint8 images (members, batch, C, H, W), labels (members, batch).

    real: a list with the `Images` of each replicate; synthetic: likewise, or None. With these, each batch holds
    round(batch * synthetic_fraction) of them and real images for the rest, so that every arm of a study takes the same
    number of updates at the same batch size. Member m follows an order of its own, from seed + m.
    """

    def __init__(self, real, synthetic=None, *, batch, synthetic_fraction=0.5, members=1, seed=0, device="cpu"):
        count, seeds = round(batch * synthetic_fraction) if synthetic else 0, [seed + m for m in range(members)]
        self.seed, self.parts = seed, []
        if batch > count:
            self.parts.append(Part(real, batch - count, seeds, device))
        if count:       # in an order of its own: in the same one, sets of one size would go through a batch in pairs
            self.parts.append(Part(synthetic, count, [(own, "synthetic") for own in seeds], device))

    def __call__(self, step):
        images, labels = zip(*(part(step) for part in self.parts), strict=True)
        return torch.cat(images, 1), torch.cat(labels, 1)


GRADIENT_OFF = 0.4      # as in `devices`; bfloat16 was off by 0.17 (equal maxima), and trained as well
CLIP = 2.0              # largest norm of the gradient, of "nesterov"
OPTIMIZERS = {          # (how it is made, its learning rate in parts of lr, by the part of the updates that are done)
    "adamw": (torch.optim.AdamW, lambda done: 1 - done),
    "sgd": (torch.optim.SGD, lambda done: 1),
    "nesterov": (functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True),
                 lambda done: min(1.0, done / 0.2, (1 - done) / 0.8)),
}


def train_classifier(model, batches, *, steps, lr, weight_decay=0.0, optimizer="adamw", label_smoothing=0.0,
                     augment=None, mixture=None, precision="fp32", log_every=100):
    """Train the members of `model` at once, each on its own part of `batches`, which are `Batches`.

    augment, mixture: of `lib.data.augmentations`, applied to each batch, or None. optimizer: one of OPTIMIZERS;
    AdamW's lr falls in a line to 0; plain SGD's stays, as in the simplest textbook loop; "nesterov" is SGD with
    Nesterov's momentum of 0.9, one cycle of the rate (up in a fifth of the updates, then down in a line to 0; Smith
    2018) and gradients of a norm of at most CLIP, for one member. label_smoothing: in 0..1, shared by all classes
    (Szegedy et al. 2016). precision: fp32, or bf16 (autocast). Yields {done, loss, images_per_second} every `log_every`
    steps. Diverged if the loss is not finite.
    """
    device = next(model.parameters()).device
    make, rate = OPTIMIZERS[optimizer]
    if optimizer == "nesterov" and model.members > 1:       # one norm for all would tie them together
        raise InputError(f"optimizer='nesterov' with {model.members} members: expected one, each trained alone")
    descent = make(model.parameters(), lr=lr, weight_decay=weight_decay, fused=device.type in ("cpu", "cuda"))
    model.train()
    start, losses = time.monotonic(), []
    for step in range(steps):
        images, y = batches(step)
        x = to_float(images)                                                        # (members, batch, C, H, W)
        if model.dropout:
            seed_dropout(int(torch.randint(2**31, (), generator=step_generator(batches.seed, "dropout", step))), device)
        if augment is not None:
            x = augment(x, step_generator(batches.seed, "augment", step))
        if mixture is not None:
            x, y = mixed(mixture, x, y, model, step_generator(batches.seed, "mixture", step))
        done = (step + 1) / (steps + 1) if optimizer == "nesterov" else step / steps    # a cycle begins above 0
        descent.param_groups[0]["lr"] = lr * rate(done)
        loss = loss_of(model, x, y, label_smoothing, precision)
        descent.zero_grad(set_to_none=True)
        loss.backward()
        if optimizer == "nesterov":
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        descent.step()
        losses.append(loss.detach() / model.members)
        if (step + 1) % log_every == 0 or step + 1 == steps:
            mean = float(torch.stack(losses).mean())
            if not math.isfinite(mean):
                raise Diverged(f"the classifier's loss is {mean} by step {step + 1} (lr {lr}): lower lr")
            yield {"done": step + 1, "loss": mean,
                   "images_per_second": (step + 1) * images.shape[0] * images.shape[1] / (time.monotonic() - start)}
            losses = []
    model.eval()


def loss_of(model, x, y, label_smoothing=0.0, precision="fp32"):
    """The sum over members of each one's mean loss, so that every member gets the gradient that it would get alone."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(x).float()
    return F.cross_entropy(logits.flatten(0, 1), y.flatten(0, 1), label_smoothing=label_smoothing) * model.members


def mixed(mixture, x, y, model, generator):
    """The batch of each member mixed for itself, and its labels as shares of each class: (members, B, classes)."""
    parts = [mixture(*member, model.num_classes, generator) for member in zip(x, y, strict=True)]
    return tuple(map(torch.stack, zip(*parts, strict=True)))


def faster_precision(model, batches, updates, label_smoothing=0.0):
    """"bf16" where it trains a large model faster than float32, to about the same loss and gradient, and
    {name: seconds of an update, or why it was refused}; else "fp32". See `devices.fastest`, whose rules these are.

    Nothing is compiled: in bfloat16 that gave gradients that are not numbers. `model` is used up.
    """
    device = next(model.parameters()).device
    if not model.large or device.type == "cpu" and not devices.has_bfloat16():
        return "fp32", {}
    if device.type != "cpu":
        able = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return ("bf16" if able else "fp32"), {}

    def gradient(precision, k):
        x, y = batches(k)
        model.zero_grad()
        loss = loss_of(model, to_float(x), y, label_smoothing, precision)
        loss.backward()
        return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])

    exact, best = devices.trial("fp32", gradient)
    tried = {"fp32": round(best, 4)}
    if best * updates <= devices.WORTH:
        return "fp32", tried
    answer, seconds = devices.trial("bf16", gradient)
    refused = devices.unlike(exact, answer, GRADIENT_OFF)
    tried["bf16"] = refused or round(seconds, 4)
    return ("bf16" if devices.FASTER * seconds < best and not refused else "fp32"), tried


@torch.no_grad()
def predict(model, images, batch=1000):
    """Predicted labels of uint8 images: for each replicate those by its members, (seeds, n) int64 arrays in a list.

    images: a list with a tensor (n, C, H, W) for each replicate; a list of one is what all members see. Changes nothing
    in the model: it may be called in the middle of a training.
    """
    device, training, out = next(model.parameters()).device, model.training, []
    seeds = model.members // len(images)
    model.eval()
    for part in pad_sequence(images, batch_first=True).split(batch, 1):             # (replicates, batch, C, H, W)
        x = to_float(part.to(device))[:, None].expand(-1, seeds, -1, -1, -1, -1)
        out.append(model(x.flatten(0, 1)).argmax(-1).cpu())                         # (members, batch)
    model.train(training)
    labels = torch.cat(out, 1).unflatten(0, (len(images), seeds)).numpy()           # (replicates, seeds, longest)
    return [own[:, :len(one)] for own, one in zip(labels, images, strict=True)]
