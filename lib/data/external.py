"""Synthetic images that another generator made: a folder with a folder of pictures for each class, or an .npz file."""
import os
import zipfile
from typing import NamedTuple

import numpy as np
import torch

from lib import InputError
from lib.data import decoded, folders, numbers, pictures
from lib.data.images import Images, resize, select, sha256_of
from lib.data.places import in_project

ARRAYS = (("images", "labels"), ("arr_0", "arr_1"))         # ours (also `dream` writes it), and guided-diffusion's


class External(NamedTuple):
    """Images of the real ones' shape and classes, not necessarily of every class; the name of each, (N,); notes:
    sentences on what was left out or converted."""

    images: Images
    names: list
    notes: tuple

    @property
    def fingerprint(self):
        """sha256 of the bytes of images and labels."""
        return sha256_of(self.images)


def place(synthetic_dir):
    """The path of a parameter synthetic_dir; "" is that of DREAMING_SYNTHETIC_DIR, which --synthetic-dir sets. A
    relative one counts from the repository. InputError where there is none."""
    chosen = synthetic_dir or os.environ.get("DREAMING_SYNTHETIC_DIR", "")
    path = in_project(chosen)
    if not chosen or not (path.is_dir() or path.suffix == ".npz" and path.is_file()):
        raise InputError(f"synthetic_dir={chosen!r}: expected a folder of class folders, with images as "
                         "class/name.png, or an .npz file; synthetic_dir or --synthetic-dir names it")
    return path


def external(synthetic_dir, *, image_shape, classes):
    """Read the images of `synthetic_dir` (see `place`) as External, scaled and coloured as the real ones are.

    image_shape: (C, H, W) of the real images, classes: their names. A folder holds class folders with some of these
    names, and its pictures are read by the rules of lib.data.folders. An .npz holds images (N, C, H, W) or (N, H, W, C)
    uint8 and labels (N,), numbers from 0 or names; also as guided-diffusion calls them, arr_0 and arr_1. Images are
    scaled where the real ones are square. InputError names all that is wrong.
    """
    path, problems = place(synthetic_dir), []
    read = _folder if path.is_dir() else _file
    try:
        images, names, notes = read(path, image_shape, tuple(classes), problems)
    except OSError as error:
        raise InputError(f"synthetic_dir={str(path)!r}: cannot read {str(error.filename)!r} "
                         f"({error.strerror})") from None
    if not problems and not names:
        problems.append(f"expected images of some of the classes {folders._list(classes)}, but it has none")
    if not problems and tuple(images.images.shape[2:]) != tuple(image_shape[1:]):
        problems.append("its images are {}x{}, the real ones {}x{}: expected the same shape, or square real images"
                        .format(*reversed(images.images.shape[2:]), *reversed(image_shape[1:])))
    if problems:
        raise InputError("\n".join(f"synthetic_dir={str(path)!r}: {problem}" for problem in problems))
    pixels, converted = _channels(images.images, image_shape[0])
    return External(Images(pixels, images.labels, images.classes), names, tuple(notes) + converted)


def chosen(made, per_class, real, seed):
    """(Images, names) of at most so many images of each class of an External, by chance; 0: all, as they are.

    per_class: see lib.data.numbers; real: how many real images there are of each class.
    """
    if not per_class:
        return made.images, made.names
    wanted = numbers(per_class, made.images.classes, others=0, real=real, name="images_per_class")
    order = torch.randperm(len(made.names), generator=torch.Generator().manual_seed(seed))
    of_class = [order[made.images.labels[order] == k][:n] for k, n in enumerate(wanted)]
    kept = torch.cat(of_class)
    return select(made.images, kept), [made.names[i] for i in kept]


def side(image_shape):
    """The side to which images are scaled, 0 where the real ones are not square."""
    return image_shape[1] if image_shape[1] == image_shape[2] else 0


def _folder(root, image_shape, classes, problems):
    """(Images, names, notes) of class folders."""
    loose, others, found = pictures.contents(root)
    if unknown := [path.name for path in found if path.name not in classes]:
        problems.append(f"{folders._list(map(repr, unknown))}: expected the names of the real images' classes: "
                        f"{folders._list(classes)}")
    files = []
    for path in found:
        own, no_pictures, below = pictures.contents(path)
        others += [*no_pictures, *below]
        files += [folders.File(file, root, "", classes.index(path.name)) for file in own if path.name in classes]
    usable, images, converted = folders._read(files, classes, root, side(image_shape), problems)
    left_out = len(others) + len(loose)
    notes = [f"Left out of the synthetic images, because they are no pictures of a class: {left_out}."] * bool(left_out)
    return images, [file.name for file in usable], notes + [f"Synthetic images: {note}" for note in converted]


def _file(path, image_shape, classes, problems):
    """(Images, names, notes) of an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            keys = next((pair for pair in ARRAYS if set(pair) <= set(arrays)), None)
            if keys is None:
                raise InputError(f"synthetic_dir={str(path)!r}: it holds {folders._list(arrays) or 'nothing'}: "
                                 "expected the arrays images and labels, or arr_0 and arr_1")
            values, labels = (arrays[key] for key in keys)
    except InputError:
        raise
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"synthetic_dir={str(path)!r}: expected an .npz file of numpy without pickles "
                         f"({str(error).splitlines()[0]})") from None
    if values.ndim == 4 and values.shape[1] not in decoded.KINDS and values.shape[3] in decoded.KINDS:
        values = values.transpose(0, 3, 1, 2)
    if values.ndim != 4 or values.dtype != np.uint8 or values.shape[1] not in decoded.KINDS:
        problems.append(f"images are {values.dtype} of shape {values.shape}: expected uint8 (N, C, H, W) or (N, H, W, "
                        "C) with 1 or 3 channels")
    if labels.shape != values.shape[:1]:
        problems.append(f"labels have the shape {labels.shape}: expected ({len(values)},), one for each image")
    elif labels.dtype.kind in "US":
        labels = labels.astype(str)
        if unknown := sorted(set(labels.tolist()) - set(classes)):
            problems.append(f"labels: {folders._list(map(repr, unknown))}: expected the names of the real images' "
                            f"classes: {folders._list(classes)}")
        labels = np.array([classes.index(name) for name in labels.tolist() if name in classes], np.int64)
    elif labels.dtype.kind not in "iu" or len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        ends = f" from {labels.min()} to {labels.max()}" if labels.size else ""
        problems.append(f"labels are {labels.dtype}{ends}: expected whole numbers from 0 to {len(classes) - 1}, or "
                        "names of classes")
    if problems:
        return None, [], ()
    pixels = resize(torch.from_numpy(np.ascontiguousarray(values)), side(image_shape))
    names = [f"image {k}" for k in range(len(labels))]
    return Images(pixels, torch.from_numpy(labels.astype(np.int64)), classes), names, ()


def _channels(images, channels):
    """(The images with so many channels, a note on it): grey ones are repeated, coloured ones are weighted as PIL
    does."""
    if images.shape[1] == channels:
        return images, ()
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous(), ("The synthetic images are grey, the real ones coloured.",)
    weights = torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]
    grey = (images.float() * weights).sum(1, keepdim=True).round().to(torch.uint8)
    return grey, ("The synthetic images are coloured and were converted to grey, as the real ones are.",)
