"""Classifiers: `members` networks of one shape that train side by side, each from its own seed.

forward(x): (members, B, C, H, W) in [-1, 1] -> logits (members, B, num_classes). Member m starts from seed + m,
whatever the number of members, so that two arms of a study compare the same initial weights.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn


class MLP(nn.Module):
    """Fully connected layers of the given widths with ReLU, as the seed paper's; all members in one batched product."""

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

    def forward(self, x):
        h = x.flatten(2)
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(b, F.relu(h) if i else h, w)
        return h


class CNN(nn.Module):
    """A small convolutional network, the classifier that the seed paper wanted to try: a stage for each width
    (conv, batch norm, ReLU, twice; then halved), global average, linear. Members run one after another."""

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


CLASSIFIERS = {"mlp": MLP, "cnn": CNN}
