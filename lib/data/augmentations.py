"""Classical augmentation, the rival that costs nothing: random changes of a batch that keep its labels.

Every function takes x, float images (..., C, H, W) in [-1, 1] and a CPU generator, changes each image on its own, and
returns the same shape. -1 is black, the background of digits and of shifted-in borders.
"""
import torch
import torch.nn.functional as F

from lib import InputError


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


def flip_and_shift(x, generator):
    return shift(flip(x, generator), generator)


AUGMENTATIONS = {"flip": flip, "shift": shift, "flip and shift": flip_and_shift, "noise": noise}


def augmentation(name):
    """The function called `name`. InputError for another name."""
    if name not in AUGMENTATIONS:
        raise InputError(f"augmentation={name!r}: expected one of {', '.join(map(repr, AUGMENTATIONS))}")
    return AUGMENTATIONS[name]
