"""Data sets: every one becomes three `Images` in memory, train, validation and test; adding synthetic ones is a `join`.

`load("digits", canvas=12, per_class=50)` needs no download; the sets that lie on the disk are in image_files.py.
All choices made by chance come from `seed`, through numpy's RandomState: its stream is frozen, so that a seed means the
same images on every machine and in every later version.
"""
import hashlib
import inspect
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from lib import InputError

SIDES = (8, 64)             # smallest and largest side of an image, pixels
DIGIT = 8                   # side of scikit-learn's digits, pixels


# ---------------------------------------------------------------- images in memory
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

    Each image of a data set stands in one part at most.
    """

    train: Images
    validation: Images
    test: Images

    @property
    def image_shape(self):
        """(C, H, W)"""
        return tuple(self.train.images.shape[1:])

    @property
    def classes(self):
        return self.train.classes


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
    resized = torch.empty(n, c, size, size, dtype=torch.uint8)
    for start in range(0, n, 2048):       # in parts: as float32 all of CIFAR-10 would fill 700 MB
        part = F.interpolate(square[start:start + 2048].float(), size=(size, size), **how)
        resized[start:start + 2048] = part.round().clamp(0, 255).to(torch.uint8)
    return resized


# ---------------------------------------------------------------- digits
def digits(*, canvas, per_class, seed):
    """scikit-learn's 1,797 handwritten digits, 8x8 grey, grey values 0..16 scaled to 0..255; half of them are the test.

    canvas=0 or 8: as they are. canvas=9..32: each stands on a black canvas at a place that `seed` fixes. The split
    depends on `seed` alone: test holds 898 images, validation a fifth of each class of the other 899, and train the
    first `per_class` of each class of the rest (0: all).
    """
    random = np.random.RandomState(seed)
    order = random.permutation(len(plain := _plain_digits()))
    placed = Images(_place(plain.images, canvas or DIGIT, random), plain.labels, plain.classes)
    half = len(order) // 2
    train, validation = hold_out(placed, order[half:], 0.2, per_class)
    return Split(select(placed, train), select(placed, validation), select(placed, order[:half]))


def _plain_digits():
    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * 255 / 16).astype(np.uint8))
    return Images(images[:, None], torch.from_numpy(bunch.target.astype(np.int64)), tuple("0123456789"))


def _place(images, canvas, random):
    placed = torch.zeros(len(images), 1, canvas, canvas, dtype=torch.uint8)
    for image, out, (i, j) in zip(images, placed, random.randint(0, canvas - DIGIT + 1, (len(images), 2)), strict=True):
        out[:, i:i + DIGIT, j:j + DIGIT] = image
    return placed


def hold_out(images, order, share, per_class):
    """Divide positions in `images` into (train, validation); `order` is the shuffled positions, an int64 array.

    validation: the last `share` of each class in `order`, at least one image, whatever `per_class` is. train: of the
    others the first `per_class` of each class, class by class (0: all, as they follow in `order`). InputError where a
    class has fewer than `per_class` left.
    """
    labels = images.labels.numpy()[order]
    of_class = [order[labels == k] for k in range(len(images.classes))]
    rest = [positions[:len(positions) - max(1, round(share * len(positions)))] for positions in of_class]
    k = min(range(len(rest)), key=lambda k: len(rest[k]))
    if len(rest[k]) < per_class:
        raise InputError(f"per_class={per_class}: expected at most {len(rest[k])}, "
                         f"all training images of class {images.classes[k]!r}")
    left = np.isin(order, np.concatenate(rest))
    train = np.concatenate([positions[:per_class] for positions in rest]) if per_class else order[left]
    return train, order[~left]


def digit_oracle(canvas, known=None):
    """A judge that knows where digits may stand: the label of the nearest real digit (L2) at the nearest place.

    Returns a function from images (N, 1, canvas, canvas) uint8 to labels (N,) int64; canvas=0 or 8 is the plain digits.
    known: Images of plain 8x8 digits, by default all 1,797. A digit placed at p is at squared distance
    |x|^2 - 2 <window of x at p, digit> + |digit|^2, so no placed copy is stored. Every sum is a whole number under
    2^24, so float32 is exact. The judge raises InputError for images of another shape.
    """
    canvas, known = canvas or DIGIT, known or _plain_digits()
    pixels = known.images.flatten(1).float()
    chunk = max(1, 2**24 // (len(known) * (canvas - DIGIT + 1) ** 2))     # 64 MB of distances at a time

    def judge(images):
        if images.dtype != torch.uint8 or images.shape[1:] != (1, canvas, canvas):
            raise InputError(f"images are {images.dtype} of shape {tuple(images.shape)}: "
                             f"expected torch.uint8 (N, 1, {canvas}, {canvas})")
        nearest = []
        for part in images.cpu().float().split(chunk):
            overlap = (pixels @ F.unfold(part, DIGIT)).amax(2)              # (N, known): at the best place
            nearest.append((2 * overlap - pixels.square().sum(1)).argmax(1))
        return known.labels[torch.cat(nearest)]
    return judge


# ---------------------------------------------------------------- by name
DATASETS = ("digits", "cifar10", "fashion_mnist", "folder")


def loader(dataset):
    """The function that reads the data set `dataset`; what it takes is its signature."""
    if dataset == "digits":
        return digits
    from lib import image_files  # only when asked for: torchvision takes seconds to import
    return getattr(image_files, dataset)


def load(dataset, *, data_dir="", size=0, canvas=0, per_class=0, seed=0):
    """The Split called `dataset`; options as in its loader, 0 or "" = not used, a relative data_dir counts from ROOT.

    InputError for an unknown name, an option out of range or that this data set does not take, and data not to be had.
    """
    if dataset not in DATASETS:
        raise InputError(f"dataset={dataset!r}: expected one of {', '.join(map(repr, DATASETS))}")
    options = {"data_dir": data_dir, "size": size, "canvas": canvas, "per_class": per_class, "seed": seed}
    taken = inspect.signature(loader(dataset)).parameters
    for name, value in options.items():
        if value and name not in taken:
            raise InputError(f"{name}={value!r}: dataset={dataset!r} takes only {', '.join(taken)}")
    for name, high in (("size", SIDES[1]), ("canvas", 32)):
        if options[name] and not SIDES[0] <= options[name] <= high:
            raise InputError(f"{name}={options[name]}: expected 0, or a number from {SIDES[0]} to {high}")
    for name in ("per_class", "seed"):
        if options[name] < 0:
            raise InputError(f"{name}={options[name]}: expected at least 0")
    return loader(dataset)(**{name: options[name] for name in taken})


def fingerprint(split):
    """sha256 of the bytes of images and labels of train, validation and test: equal data, equal text."""
    digest = hashlib.sha256()
    for part in (split.train, split.validation, split.test):
        for tensor in (part.images, part.labels):
            digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


def load_for(settings):
    """The Split that a training's parameters ask for: a mapping with dataset, data_dir, size, canvas, per_class and
    data_seed, such as a run's config. Errors as `load`."""
    options = {name: settings[name] for name in ("dataset", "data_dir", "size", "canvas", "per_class")}
    return load(**options, seed=settings["data_seed"])


def check(config):
    """Load what a notebook's config asks for and return {dataset, train, validation, test, shape, sha256}: train,
    validation and test are numbers of images. Errors as `load`."""
    split = load_for(vars(config))
    return {"dataset": config.dataset, "train": len(split.train), "validation": len(split.validation),
            "test": len(split.test), "shape": list(split.image_shape), "sha256": fingerprint(split)}
