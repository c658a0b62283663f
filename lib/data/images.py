"""Images in memory: every data set is three `Images`, train, validation and test; adding synthetic ones is a `join`."""
import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from lib import InputError
from lib.data import numbers


@dataclass(frozen=True, eq=False)
class Images:
    """images (N, C, H, W) uint8, labels (N,) int64 in 0..len(classes)-1, classes: their names. InputError otherwise."""

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]

    def __post_init__(self):
        x, y = self.images, self.labels
        if x.dtype != torch.uint8 or x.dim() != 4:
            raise InputError(f"images are {x.dtype} of shape {tuple(x.shape)}: expected torch.uint8 (N, C, H, W)")
        if y.dtype != torch.int64 or y.shape != x.shape[:1]:
            raise InputError(f"labels are {y.dtype} of shape {tuple(y.shape)}: expected torch.int64 ({len(x)},)")
        if not isinstance(self.classes, tuple):
            raise InputError(f"classes={self.classes!r}: expected a tuple of names")
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < len(self.classes):
            raise InputError(f"labels from {y.min()} to {y.max()}: expected 0 to {len(self.classes) - 1}")

    def __len__(self):
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Split:
    """The images to learn from, those to choose settings by, and those to be judged on, of the same classes and shape.

    Each image of a data set stands in one part at most, and no equal one in another. notes: sentences on what was left
    out or is worth knowing. test_ids: (N,) int64, which image of the data set each test image is, the same for every
    seed; by default 0, 1, ..., as where all seeds have one test.
    """

    train: Images
    validation: Images
    test: Images
    notes: tuple[str, ...] = ()
    test_ids: np.ndarray | None = None

    def __post_init__(self):
        if self.test_ids is None:
            object.__setattr__(self, "test_ids", np.arange(len(self.test)))

    @property
    def image_shape(self):
        """(C, H, W)"""
        return tuple(self.train.images.shape[1:])

    @property
    def classes(self):
        return self.train.classes

    @property
    def counts(self):
        """{part: {class: number of images}}"""
        return {name: dict(zip(part.classes, part.labels.bincount(minlength=len(part.classes)).tolist(), strict=True))
                for name, part in (("train", self.train), ("validation", self.validation), ("test", self.test))}


def join(a, b):
    """All of `a`, then all of `b`. InputError unless classes and image shape are the same."""
    if a.classes != b.classes:
        raise InputError(f"cannot join classes {a.classes} and {b.classes}: expected the same")
    if a.images.shape[1:] != b.images.shape[1:]:
        raise InputError(f"cannot join images of shape {tuple(a.images.shape[1:])} and {tuple(b.images.shape[1:])}: "
                         "expected the same")
    return Images(torch.cat([a.images, b.images]), torch.cat([a.labels, b.labels]), a.classes)


def select(images, index):
    """The images at `index`: a slice, a mask (N,), or a sequence of positions, in its order."""
    return Images(images.images[index], images.labels[index], images.classes)


def of_classes(split, classes):
    """The images of some classes, in the split's order of classes. InputError for a name that is none."""
    if unknown := [name for name in classes if name not in split.classes]:
        raise InputError(f"classes: {unknown[0]!r} is none: expected some of {', '.join(split.classes)}")
    kept = torch.tensor([k for k, name in enumerate(split.classes) if name in classes])
    names = tuple(split.classes[k] for k in kept)

    def those_of(part):
        mask = torch.isin(part.labels, kept)
        return Images(part.images[mask], torch.searchsorted(kept, part.labels[mask]), names)
    return Split(*map(those_of, (split.train, split.validation, split.test)), split.notes,
                 split.test_ids[torch.isin(split.test.labels, kept).numpy()])


def to_float(images):
    """uint8 0..255 -> float32 in [-1, 1], x = images / 127.5 - 1: the range in which the diffusion model works."""
    if images.dtype != torch.uint8:
        raise InputError(f"images are {images.dtype}: expected torch.uint8")
    return images.float() / 127.5 - 1


def to_uint8(x):
    """Float images -> uint8, rounded, clamped outside [-1, 1]: undoes `to_float` exactly. InputError for NaN."""
    if torch.isnan(x).any():
        raise InputError("images hold NaN: expected numbers (a diverged model?)")
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def resize(images, size):
    """(N, C, H, W) uint8 -> (N, C, size, size) uint8; size=0 changes nothing.

    The square in the middle is kept. Where `size` divides its side, each new pixel is the mean of the area that it
    covers (32 -> 16: of 2x2 pixels), otherwise an antialiased bilinear mean; both rounded.
    """
    n, c, h, w = images.shape
    side = min(h, w)
    if size == 0 or h == w == size:
        return images
    top, left = (h - side) // 2, (w - side) // 2
    square = images[:, :, top:top + side, left:left + side]
    how = {"mode": "area"} if side % size == 0 else {"mode": "bilinear", "antialias": True}
    planes = square.flatten(0, 1)[:, None]
    parts = planes.split(max(1, 2**21 // side**2))      # as float32 all of CIFAR-10 would fill 700 MB, a photo as much
    resized = [F.interpolate(part.float(), size=(size, size), **how).round().clamp(0, 255).byte() for part in parts]
    return torch.cat(resized).view(n, c, size, size)


def hold_out(images, order, share, per_class):
    """Divide positions in `images` into (train, validation); `order` is the shuffled positions, an int64 array.

    validation: the last `share` of each class in `order`, at least one image, whatever `per_class` is. train: the
    others, limited as in `limit`, with its InputError.
    """
    labels = images.labels.numpy()[order]
    of_class = [order[labels == k] for k in range(len(images.classes))]
    rest = [positions[:len(positions) - max(1, round(share * len(positions)))] for positions in of_class]
    left = np.isin(order, np.concatenate(rest))
    return limit(images, order[left], per_class), order[~left]


def limit(images, order, per_class):
    """The first of each class of the positions `order`, class by class, as many as `per_class` says (see
    lib.data.numbers); 0: all, as they follow. InputError where a class has fewer."""
    if not per_class:
        return order
    labels = images.labels.numpy()[order]
    of_class = [order[labels == k] for k in range(len(images.classes))]
    wanted = numbers(per_class, images.classes, others=0, name="per_class")
    k = min(range(len(of_class)), key=lambda k: len(of_class[k]) - wanted[k])
    if len(of_class[k]) < wanted[k]:
        raise InputError(f"per_class={wanted[k]}: expected at most {len(of_class[k])}, "
                         f"all training images of class {images.classes[k]!r}")
    return np.concatenate([positions[:n or None] for positions, n in zip(of_class, wanted, strict=True)])


def fingerprint(split):
    """sha256 of the bytes of images and labels of train, validation and test: equal data, equal text."""
    return sha256_of(split.train, split.validation, split.test)


def sha256_of(*parts):
    """sha256 of the bytes of images and labels of several Images, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        for tensor in (part.images, part.labels):
            digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()
