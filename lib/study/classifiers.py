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
from torch.nn.utils.rnn import pad_sequence

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


OPTIMIZERS = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def train_classifier(model, batches, *, steps, lr, weight_decay=0.0, optimizer="adamw", augment=None, log_every=100):
    """Train the members of `model` at once, each on its own part of `batches`, which are `Batches`.

    augment: one of `lib.data.augmentations`, applied to each batch, or None. optimizer: one of OPTIMIZERS; AdamW's lr
    falls in a line to 0, plain SGD's stays, as in the simplest textbook loop. Yields {done, loss, images_per_second}
    every `log_every` steps. Diverged if the loss is not finite.
    """
    device = next(model.parameters()).device
    descent = OPTIMIZERS[optimizer](model.parameters(), lr=lr, weight_decay=weight_decay,
                                    fused=device.type in ("cpu", "cuda"))
    model.train()
    start, losses = time.monotonic(), []
    for step in range(steps):
        images, y = batches(step)
        x = to_float(images)                                                        # (members, batch, C, H, W)
        if model.dropout:
            seed_dropout(int(torch.randint(2**31, (), generator=step_generator(batches.seed, "dropout", step))), device)
        if augment is not None:
            x = augment(x, step_generator(batches.seed, "augment", step))
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
                   "images_per_second": (step + 1) * y.numel() / (time.monotonic() - start)}
            losses = []
    model.eval()


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
