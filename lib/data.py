"""Data sets: every one becomes two `Images` in memory, train and test, so that adding synthetic images is one `join`.

`load("digits", canvas=12, per_class=50)` needs no download. `DATASETS` holds one loader for each accepted name; what a
loader takes is its signature. All choices made by chance come from `seed`, through numpy's RandomState: its stream is
frozen, so that a seed means the same images on every machine and in every later version.
"""
import hashlib
import inspect
import os
import tempfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image, ImageOps, UnidentifiedImageError  # what torchvision's ImageFolder reads with
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torchvision.datasets.folder import IMG_EXTENSIONS, is_image_file
from torchvision.datasets.utils import check_integrity

from lib import ROOT, InputError

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
    """The images to learn from and those to be judged on, of the same classes and shape."""

    train: Images
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
    depends on `seed` alone; train holds the first `per_class` of each class (0: all 899), test always 898 images.
    """
    random = np.random.RandomState(seed)
    order = random.permutation(len(plain := _plain_digits()))
    placed = Images(_place(plain.images, canvas or DIGIT, random), plain.labels, plain.classes)
    half = len(order) // 2
    return Split(_of_each_class(placed, order[half:], per_class), select(placed, order[:half]))


def _plain_digits():
    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * 255 / 16).astype(np.uint8))
    return Images(images[:, None], torch.from_numpy(bunch.target.astype(np.int64)), tuple("0123456789"))


def _place(images, canvas, random):
    placed = torch.zeros(len(images), 1, canvas, canvas, dtype=torch.uint8)
    for image, out, (i, j) in zip(images, placed, random.randint(0, canvas - DIGIT + 1, (len(images), 2)), strict=True):
        out[:, i:i + DIGIT, j:j + DIGIT] = image
    return placed


def _of_each_class(images, order, per_class):
    """The first `per_class` images of each class in the sequence `order` (0: all). InputError for too few."""
    if per_class == 0:
        return select(images, order)
    labels = images.labels.numpy()[order]
    chosen = [order[labels == k][:per_class] for k in range(len(images.classes))]
    k = min(range(len(chosen)), key=lambda k: len(chosen[k]))
    if len(chosen[k]) < per_class:
        raise InputError(f"per_class={per_class}: expected at most {len(chosen[k])}, "
                         f"all training images of class {images.classes[k]!r}")
    return select(images, np.concatenate(chosen))


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


# ---------------------------------------------------------------- sets that torchvision downloads
def cifar10(*, data_dir, size, per_class, seed):
    """CIFAR-10 (Krizhevsky 2009): 50,000 / 10,000 colour images, 32x32. Files are checked against torchvision's md5."""
    source = torchvision.datasets.CIFAR10
    md5s = dict([*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])])
    return _official(source, source.base_folder, md5s, source.url, data_dir, size, per_class, seed)


def fashion_mnist(*, data_dir, size, per_class, seed):
    """Fashion-MNIST (Xiao et al. 2017): 60,000 / 10,000 grey images, 28x28. Files are checked by length."""
    lengths = {f"raw/{part}-{kind}-ubyte": header + n * each for part, n in (("train", 60_000), ("t10k", 10_000))
               for kind, header, each in (("images-idx3", 16, 28 * 28), ("labels-idx1", 8, 1))}
    source = torchvision.datasets.FashionMNIST
    return _official(source, "FashionMNIST", lengths, f"the four .gz files of {source.mirrors[0]}",
                     data_dir, size, per_class, seed)


def _official(source, folder, files, archive, data_dir, size, per_class, seed):
    """The official split; downloads only where there is no `folder`, never over a damaged one.

    files: name in `folder` -> md5 (text) or length in bytes. archive: what to unpack by hand.
    """
    root = _absolute(data_dir) if data_dir else default_data_dir()
    target = root / folder
    by_hand = f"unpack {archive} so that {target / next(iter(files))} exists"
    if not target.exists():
        _download(source, target, by_hand)
    damaged = [name for name, expected in files.items() if not _intact(target / name, expected)]
    if damaged:
        raise InputError(f"{target} is damaged or incomplete ({', '.join(damaged)}): "
                         f"move this folder away to download it again, or {by_hand}")
    train, test = (_from_torchvision(source(root, train=part), size) for part in (True, False))
    order = np.random.RandomState(seed).permutation(len(train)) if per_class else slice(None)
    return Split(_of_each_class(train, order, per_class), test)


def default_data_dir():
    """DREAMING_DATA_DIR, else dreaming-data in the user's cache folder."""
    if chosen := os.environ.get("DREAMING_DATA_DIR"):
        return _absolute(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dreaming-data"


def _absolute(data_dir):
    return ROOT / Path(data_dir).expanduser()       # not the working folder: a notebook runs in another one


def _intact(path, expected):
    if isinstance(expected, str):
        return check_integrity(path, expected)
    return path.is_file() and path.stat().st_size == expected


def _download(source, target, by_hand):
    """Fetch into a temporary folder, then rename: never half a set, even with two processes. InputError offline."""
    beside = next(path for path in target.parents if path.is_dir())
    try:
        with tempfile.TemporaryDirectory(dir=beside, prefix="dreaming-data-") as temporary:
            source(temporary, download=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            (Path(temporary) / target.name).rename(target)
    except (OSError, RuntimeError, EOFError, HTTPException) as error:
        if not target.exists():                     # else another process was faster
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise InputError(f"could not download {source.__name__} to {target} ({reason}): "
                             f"connect to the network, or {by_hand}") from error


def _from_torchvision(dataset, size):
    images = torch.as_tensor(dataset.data)
    images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
    return Images(resize(images, size).contiguous(), torch.as_tensor(dataset.targets), tuple(dataset.classes))


# ---------------------------------------------------------------- a folder of one's own
class ClassFolders(torchvision.datasets.ImageFolder):
    """ImageFolder that passes over hidden files and folders: Jupyter's .ipynb_checkpoints is not a class."""

    def __init__(self, root):
        def visible(path):
            return is_image_file(path) and not any(p.startswith(".") for p in Path(path).relative_to(root).parts)
        super().__init__(root, is_valid_file=visible, allow_empty=True)

    def find_classes(self, directory):
        names = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir() and entry.name[0] != ".")
        if len(names) < 2:
            raise InputError(f"data_dir={str(directory)!r}: expected at least 2 class folders, with images as "
                             f"class/name.png, but found {len(names)}: {', '.join(names) or 'none'}")
        return names, {name: k for k, name in enumerate(names)}


def folder(*, data_dir, size, per_class, seed):
    """A folder of class folders, class/name.png or .jpg ...: all 8-bit grey (C=1) or all RGB (C=3), none converted.

    Photos are turned as their EXIF note says; `size` as in `resize`, 0 where all images share one shape. A fifth of
    each class, at least one image, chosen by `seed`, is the test; `per_class` limits train. Transparent, palette and
    16-bit images, unreadable ones and those under 8 pixels are refused. InputError names the folder or the files.
    """
    root = _absolute(data_dir)
    if not data_dir or not root.is_dir():
        raise InputError(f"data_dir={data_dir!r}: expected a folder of class folders, with images as class/name.png")
    found = ClassFolders(root)
    counts = np.bincount(found.targets, minlength=len(found.classes))
    if counts.min() < 2:
        few = ", ".join(f"{name!r} has {n}" for name, n in zip(found.classes, counts, strict=True) if n < 2)
        raise InputError(f"data_dir={data_dir!r}: expected at least 2 images in each class folder, but {few} "
                         f"(images end in {', '.join(IMG_EXTENSIONS)})")
    images = Images(_read_all([Path(path) for path, _ in found.samples], root, size), torch.tensor(found.targets),
                    tuple(found.classes))
    order = np.random.RandomState(seed).permutation(len(images))
    labels = images.labels.numpy()[order]
    test = np.concatenate([order[labels == k][:max(1, round(n / 5))] for k, n in enumerate(counts)])
    return Split(_of_each_class(images, order[~np.isin(order, test)], per_class), select(images, test))


def _read_all(paths, root, size):
    """(N, C, H, W) uint8 of the files. InputError for unreadable files and those that do not go together."""
    images, unreadable, first = [], [], {}
    for path in paths:
        name = path.relative_to(root).as_posix()
        try:
            image = _read(path)
        except Exception as error:      # a damaged file can make a decoder raise anything
            reason = "in no known image format" if isinstance(error, UnidentifiedImageError) else error
            unreadable.append(f"{name} ({reason})")
            continue
        first.setdefault(tuple(image.shape), name)
        _check_shapes(first, size)
        images.append(resize(image[None], size))
    if unreadable:
        more = f" and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise InputError(f"cannot use {', '.join(unreadable[:5])}{more}: expected whole 8-bit grey or RGB images, "
                         f"at least {SIDES[0]}x{SIDES[0]} pixels")
    return torch.cat(images)


def _read(path):
    """One image file as (C, H, W) uint8."""
    with Image.open(path) as file:
        if file.mode not in ("L", "RGB") or "transparency" in file.info:
            raise InputError(f"PIL mode {file.mode}" + ", transparent" * ("transparency" in file.info))
        if min(file.size) < SIDES[0]:
            raise InputError(f"{file.width}x{file.height} pixels")
        pixels = np.array(ImageOps.exif_transpose(file))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)


def _check_shapes(first, size):
    """first: (C, H, W) -> name of the first image of that shape."""
    grey, colour = ([name for (c, _, _), name in first.items() if c == channels] for channels in (1, 3))
    if grey and colour:
        raise InputError(f"{grey[0]} is grey and {colour[0]} is colour: expected one kind in all class folders")
    (_, h, w), name = next(iter(first.items()))
    if size == 0 and (len(first) > 1 or max(h, w) > SIDES[1]):
        shapes = ", ".join(f"{name} is {w}x{h}" for (_, h, w), name in first.items())
        raise InputError(f"size=0: {shapes}: expected size={SIDES[0]} to {SIDES[1]} "
                         f"unless all images share one size of at most {SIDES[1]} pixels")


# ---------------------------------------------------------------- by name
DATASETS = {"digits": digits, "cifar10": cifar10, "fashion_mnist": fashion_mnist, "folder": folder}


def load(dataset, *, data_dir="", size=0, canvas=0, per_class=0, seed=0):
    """The Split called `dataset`; options as in its loader, 0 or "" = not used, a relative data_dir counts from ROOT.

    InputError for an unknown name, an option out of range or that this data set does not take, and data not to be had.
    """
    if dataset not in DATASETS:
        raise InputError(f"dataset={dataset!r}: expected one of {', '.join(map(repr, DATASETS))}")
    options = {"data_dir": data_dir, "size": size, "canvas": canvas, "per_class": per_class, "seed": seed}
    taken = inspect.signature(DATASETS[dataset]).parameters
    for name, value in options.items():
        if value and name not in taken:
            raise InputError(f"{name}={value!r}: dataset={dataset!r} takes only {', '.join(taken)}")
    for name, high in (("size", SIDES[1]), ("canvas", 32)):
        if options[name] and not SIDES[0] <= options[name] <= high:
            raise InputError(f"{name}={options[name]}: expected 0, or a number from {SIDES[0]} to {high}")
    for name in ("per_class", "seed"):
        if options[name] < 0:
            raise InputError(f"{name}={options[name]}: expected at least 0")
    return DATASETS[dataset](**{name: options[name] for name in taken})


def fingerprint(split):
    """sha256 of the bytes of train images, train labels, test images, test labels: equal data, equal text."""
    digest = hashlib.sha256()
    for tensor in (split.train.images, split.train.labels, split.test.images, split.test.labels):
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


def load_for(settings):
    """The Split that a training's parameters ask for: a mapping with dataset, data_dir, size, canvas, per_class and
    data_seed, such as a run's config. Errors as `load`."""
    options = {name: settings[name] for name in ("dataset", "data_dir", "size", "canvas", "per_class")}
    return load(**options, seed=settings["data_seed"])


def check(config):
    """Load what a notebook's config asks for and return {dataset, train, test, shape, sha256}. Errors as `load`."""
    split = load_for(vars(config))
    return {"dataset": config.dataset, "train": len(split.train), "test": len(split.test),
            "shape": list(split.image_shape), "sha256": fingerprint(split)}
