"""One's own images: a folder with a folder of images for each class."""
import os
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image, ImageOps, UnidentifiedImageError  # what torchvision's ImageFolder reads with
from torchvision.datasets.folder import IMG_EXTENSIONS, is_image_file

from lib import InputError
from lib.data.images import SIDES, Images, Split, absolute, hold_out, resize, select


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
    each class, chosen by `seed`, is the test, and a fifth of the rest validation, each at least one image; `per_class`
    limits train. Transparent, palette and 16-bit images, unreadable ones and those under 8 pixels are refused.
    InputError names the folder or the files.
    """
    root = absolute(data_dir)
    if not data_dir or not root.is_dir():
        raise InputError(f"data_dir={data_dir!r}: expected a folder of class folders, with images as class/name.png; "
                         "--data-dir names it")
    found = ClassFolders(root)
    counts = np.bincount(found.targets, minlength=len(found.classes))
    if counts.min() < 3:
        few = ", ".join(f"{name!r} has {n}" for name, n in zip(found.classes, counts, strict=True) if n < 3)
        raise InputError(f"data_dir={data_dir!r}: expected at least 3 images in each class folder, but {few} "
                         f"(images end in {', '.join(IMG_EXTENSIONS)})")
    images = Images(_read_all([Path(path) for path, _ in found.samples], root, size), torch.tensor(found.targets),
                    tuple(found.classes))
    order = np.random.RandomState(seed).permutation(len(images))
    labels = images.labels.numpy()[order]
    test = np.concatenate([order[labels == k][:max(1, round(n / 5))] for k, n in enumerate(counts)])
    train, validation = hold_out(images, order[~np.isin(order, test)], 0.2, per_class)
    return Split(select(images, train), select(images, validation), select(images, test))


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
