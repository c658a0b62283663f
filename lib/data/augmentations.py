"""Classical augmentation, the rival that costs nothing: random changes of a batch that keep its labels.

Every function takes x, float images (..., C, H, W) in [-1, 1] and a CPU generator, changes each image on its own, and
returns the same shape. -1 is black, the background of digits and of shifted-in borders. A mixture changes labels too.
"""
import contextlib

import torch
import torch.nn.functional as F

from lib import InputError
from lib.data.images import to_float, to_uint8


def flip(x, generator):
    """Mirror each image left to right with chance 1/2. (Not for digits: a mirrored 3 is no 3.)"""
    mirrored = torch.rand(x.shape[:-3], generator=generator).to(x.device) < 0.5
    return torch.where(mirrored[..., None, None, None], x.flip(-1), x)


def shift(x, generator):
    """Move each image by up to an eighth of its side, down and right or up and left; black comes in at the border.

    The random crop of a padded image (He et al. 2016, section 4.2, 4 pixels of 32).
    """
    flat, most = x.reshape(-1, *x.shape[-3:]), max(1, x.shape[-1] // 8)
    n, _, h, w = flat.shape
    padded = F.pad(flat, [most] * 4, value=-1.0)
    corner = torch.randint(0, 2 * most + 1, (2, n), generator=generator).to(x.device)
    rows = corner[0, :, None] + torch.arange(h, device=x.device)
    columns = corner[1, :, None] + torch.arange(w, device=x.device)
    image = torch.arange(n, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2).reshape(x.shape)


def noise(x, generator, deviation=0.1):
    """Add Gaussian noise, a twentieth of the range of grey values."""
    return x + deviation * torch.randn(x.shape, generator=generator).to(x)


def randaugment(x, generator):
    """RandAugment (Cubuk et al. 2020, arXiv:1909.13719), two operations for each image, torchvision's strength."""
    from torchvision.transforms.v2 import RandAugment
    change, flat = RandAugment(), to_uint8(x.reshape(-1, *x.shape[-3:]))
    with chance_of(generator):
        changed = torch.stack([change(image) for image in flat.cpu()])
    return to_float(changed).to(x.device).view(x.shape)


def mixup(x, y, num_classes, generator):
    """mixup (Zhang et al. 2018, arXiv:1710.09412): each image and the one before it, weighted by one number for all."""
    from torchvision.transforms.v2 import MixUp
    with chance_of(generator):
        return MixUp(num_classes=num_classes)(x, y)


def cutmix(x, y, num_classes, generator):
    """CutMix (Yun et al. 2019, arXiv:1905.04899): in each image a rectangle of the one before it."""
    from torchvision.transforms.v2 import CutMix
    with chance_of(generator):
        return CutMix(num_classes=num_classes)(x, y)


@contextlib.contextmanager
def chance_of(generator):
    """torch's global chance, which torchvision uses, follows `generator`; afterwards it is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        yield


AUGMENTATIONS = {"flip": flip, "shift": shift, "noise": noise, "randaugment": randaugment}
MIXTURES = {"mixup": mixup, "cutmix": cutmix}       # of one batch: (x, y, number of classes, generator) -> x, (B, K)


def joined(*augmentations):
    """One name for several, each part once: "flip" and "flip and shift" are "flip and shift"."""
    return " and ".join(dict.fromkeys(part for name in augmentations if name for part in name.split(" and ")))


def augmentation(name):
    """(change, mixture) of "flip and shift", say: the changes of images in their order as one function, and the
    mixture, None where there is none. InputError for another name, and for two mixtures."""
    parts = name.split(" and ")
    for part in parts:
        if part not in AUGMENTATIONS and part not in MIXTURES:
            raise InputError(f"augmentation={name!r}: expected one of {', '.join(map(repr, AUGMENTATIONS))}, "
                             f"{', '.join(map(repr, MIXTURES))}, or several joined by ' and '")
    changes, mixtures = ([table[part] for part in parts if part in table] for table in (AUGMENTATIONS, MIXTURES))
    if len(mixtures) > 1:
        raise InputError(f"augmentation={name!r}: expected at most one of {', '.join(map(repr, MIXTURES))}")

    def change(x, generator):
        for one in changes:
            x = one(x, generator)
        return x
    return (change if changes else None), (mixtures[0] if mixtures else None)
