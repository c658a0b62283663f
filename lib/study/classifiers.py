"""Classifiers and their training: `members` networks of one shape side by side, each from its own seed.

forward(x): (members, B, C, H, W) in [-1, 1] -> logits (members, B, num_classes). Member m starts from seed + m,
whatever the number of members, so that two arms of a study compare the same initial weights.
"""
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lib.data.images import to_float
from lib.diffusion.training import Diverged
from lib.seeding import PassOrder, seed_dropout, step_generator


class MLP(nn.Module):
    """Fully connected layers of the given widths with ReLU, the original paper's; all members in one product."""

    normalised, dropout = False, 0.0

    def __init__(self, image_shape, num_classes, widths=(256,), members=1, seed=0):
        super().__init__()
        self.members = members
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


class CNN(nn.Module):
    """A small convolutional network, the classifier that the original paper wanted to try: a stage for each width
    (conv, batch norm, ReLU, twice; then halved), global average, linear. Members run one after another."""

    dropout = 0.0

    def __init__(self, image_shape, num_classes, widths=(32, 64, 128), members=1, seed=0):
        super().__init__()
        self.members = members
        nets = []
        for m in range(members):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed + m)
                nets.append(self.net(image_shape[0], num_classes, widths))
        self.nets = nn.ModuleList(nets).to(memory_format=torch.channels_last)

    @staticmethod
    def net(c, num_classes, widths):
        layers = []
        for i, width in enumerate(widths):
            layers += [nn.MaxPool2d(2, ceil_mode=True)] if i else []
            for _ in range(2):
                layers += [nn.Conv2d(c, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                c = width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, num_classes))

    def forward(self, x):
        return torch.stack([net(part.contiguous(memory_format=torch.channels_last))
                            for net, part in zip(self.nets, x, strict=True)])


CLASSIFIERS = {"mlp": MLP, "strong-mlp": StrongMLP, "cnn": CNN}


# ---------------------------------------------------------------- training
OPTIMIZERS = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def train_classifier(model, images, labels, *, steps, batch, lr, weight_decay=0.0, optimizer="adamw", seed=0,
                     synthetic=None, synthetic_fraction=0.5, augment=None, log_every=100):
    """Train the `members` networks of `model` at once, each on batches of its own.

    images: (N, C, H, W) uint8, labels: (N,), or two lists with those of each member; they move to the device whole and
    stay uint8. synthetic: (images, labels), likewise, or None; with it, each batch holds round(batch *
    synthetic_fraction) synthetic images and real ones for the rest, so that every arm of a study takes the same number
    of steps at the same batch size. augment: one of
    `lib.data.augmentations`, applied to each batch, or None. optimizer: one of OPTIMIZERS; AdamW's lr falls in a line
    to 0, plain SGD's stays, as in the simplest textbook loop. Yields {done, loss, images_per_second} every `log_every`
    steps.
    """
    device = next(model.parameters()).device
    parts = [(images, labels, batch)]
    if synthetic is not None:
        share = round(batch * synthetic_fraction)
        parts = [(images, labels, batch - share), (*synthetic, share)]
    parts = [(*joined(x, y, model.members, device), n) for x, y, n in parts if n]
    descent = OPTIMIZERS[optimizer](model.parameters(), lr=lr, weight_decay=weight_decay,
                                    fused=device.type in ("cpu", "cuda"))
    # the second part has an order of its own: in the same one, sets of one size would go through a batch in pairs
    orders = [[PassOrder(size, n, seed + m if k == 0 else (seed + m, "synthetic")) for m, (_, size) in enumerate(own)]
              for k, (_, _, own, n) in enumerate(parts)]
    model.train()
    start, losses = time.monotonic(), []
    for step in range(steps):
        index = [torch.stack([first + o(step) for (first, _), o in zip(own, order, strict=True)]).to(device)
                 for (_, _, own, _), order in zip(parts, orders, strict=True)]                  # (members, n)
        x = to_float(torch.cat([part[0][i] for part, i in zip(parts, index, strict=True)], 1))  # (members, batch, ...)
        y = torch.cat([part[1][i] for part, i in zip(parts, index, strict=True)], 1)
        if model.dropout:
            seed_dropout(int(torch.randint(2**31, (), generator=step_generator(seed, "dropout", step))), device)
        if augment is not None:
            x = augment(x, step_generator(seed, "augment", step))
        if optimizer == "adamw":
            descent.param_groups[0]["lr"] = lr * (1 - step / steps)
        # sum over members of each one's mean loss: every member gets the gradient that it would get alone
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten()) * model.members
        descent.zero_grad(set_to_none=True)
        loss.backward()
        descent.step()
        losses.append(loss.detach() / model.members)
        if (step + 1) % log_every == 0 or step + 1 == steps:
            mean = float(torch.stack(losses).mean())
            if not math.isfinite(mean):
                raise Diverged(f"the classifier's loss is {mean} by step {step + 1} (lr {lr}): lower lr")
            yield {"done": step + 1, "loss": mean,
                   "images_per_second": (step + 1) * batch * model.members / (time.monotonic() - start)}
            losses = []
    model.eval()


def joined(images, labels, members, device):
    """What all members learn from, or lists of each one's own: one tensor of images, one of labels, and for each member
    where its images begin there and how many they are."""
    if isinstance(images, torch.Tensor):
        return images.to(device), labels.to(device), [(0, len(images))] * members
    sizes = list(map(len, images))
    return torch.cat(images).to(device), torch.cat(labels).to(device), list(zip(
        np.cumsum([0, *sizes[:-1]]).tolist(), sizes, strict=True))


@torch.no_grad()
def predict(model, images, batch=1000):
    """Predicted labels of uint8 images by each member: (members, N) int64, on the CPU. Changes nothing in the model:
    it may be called in the middle of a training. images: (N, C, H, W), or (members, N, C, H, W), each one's own."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    out = [model(to_float(part.to(device)).expand(model.members, *part.shape[-4:])).argmax(-1).cpu()
           for part in images.split(batch, -4)]
    model.train(training)
    return torch.cat(out, 1)
