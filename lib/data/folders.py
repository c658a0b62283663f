"""One's own images: a folder with a folder of pictures for each class.

Rules: a class's pictures lie in its own folder. Names that start with "." or "@" and __MACOSX are passed over. Links to
folders are followed for a class only, never below one. What is no picture in an accepted format is counted and named in
the split's notes. A picture at most one grey level (rms) from an earlier one is a copy: left out and counted within a
class, refused in two classes.
"""
import contextlib
import hashlib
import itertools
import os
import unicodedata
import warnings
from collections import Counter

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from lib import InputError
from lib.data import copies, decoded
from lib.data.images import SIDES, Images, Split, hold_out, resize, select
from lib.data.places import absolute

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM")     # whatever the name: no EPS starts Ghostscript
PIXELS = 64_000_000         # of one picture: decoded and scaled in about 0.7 GB of memory
PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
SHARE = 1 / 5               # of each class that is the test, and of the rest that is validation
TESTED = 6                  # fewest test images of a class: coverage (lib.study.quality) needs more than its k = 5
NEEDED = next(n for n in itertools.count() if round(n * SHARE) >= TESTED)       # 28: 6 test, 4 validation, 18 train


def folder(*, data_dir, size, per_class, seed):
    """A folder of class folders, class/name.png or .jpg ...: all 8-bit grey (C=1) or all RGB (C=3), none converted.

    Photos are turned as their EXIF note says; `size` as in `resize`, 0 where all pictures share one shape. A fifth of
    each class, chosen by `seed`, is the test, and a fifth of the rest validation; `per_class` limits train.

    InputError names the folder or the files: transparent, palette and 16-bit pictures, unreadable ones, those under 8
    pixels a side or over 64 million in all, and classes of fewer than NEEDED different pictures are refused.
    """
    root = absolute(data_dir)
    if not data_dir or not root.is_dir():
        raise InputError(f"data_dir={data_dir!r}: expected a folder of class folders, with images as class/name.png; "
                         "--data-dir names it")
    try:
        classes, paths, left_out = _find(root, data_dir)
    except OSError as error:
        raise InputError(f"data_dir={data_dir!r}: cannot read {str(error.filename)!r} ({error.strerror})") from None
    labels = torch.tensor([k for k, found in enumerate(paths) for _ in found])
    _check_counts(labels, classes, data_dir)
    paths = [path for found in paths for path in found]
    names = [_text(path.relative_to(root).as_posix()) for path in paths]
    _check_headers(paths, names)
    every = Images(_read_all(paths, names, root, size), labels, classes)
    images, notes = _without_copies(every, names)
    _check_counts(images.labels, classes, data_dir)

    order = np.random.RandomState(seed).permutation(len(images))
    of_class = images.labels.numpy()[order]
    test = np.concatenate([order[of_class == k][:round(SHARE * (of_class == k).sum())] for k in range(len(classes))])
    train, validation = hold_out(images, order[~np.isin(order, test)], SHARE, per_class)
    return Split(select(images, train), select(images, validation), select(images, test), left_out + notes, test)


# ---------------------------------------------------------------- finding
def _find(root, data_dir):
    """(names of the classes, the pictures' paths of each, notes on what is left out), all sorted by name."""
    loose, others, folders = _contents(root)
    folders = [path for path in folders if not root.resolve().is_relative_to(path.resolve())]       # a link upwards
    names, wrong = [path.name for path in folders], f"data_dir={data_dir!r}: "
    if names and PARTS.issuperset(map(str.lower, names)):
        largest = max(names, key=lambda name: name.lower().startswith("train"))
        raise InputError(f"{wrong}{_list(map(repr, names))} are parts of a split, not classes: expected class folders, "
                         f"such as those in {os.path.join(data_dir, largest)!r}; the split is made from them")
    if len(names) < 2:
        raise InputError(f"{wrong}expected at least 2 class folders, with images as class/name.png, but found "
                         f"{len(names)}: {_list(map(_text, names)) or 'none'}")
    if odd := [_text(name) for name in names if _text(name) != name]:
        raise InputError(f"{wrong}'{_list(odd)}': expected class names in UTF-8 without control characters")

    paths, nested, links = [], [], 0
    for path in folders:
        pictures, no_pictures, below = _contents(path)
        paths.append(pictures)
        others += no_pictures
        links += sum(p.is_symlink() for p in below)
        nested += [f"{_text(p.relative_to(root).as_posix())} holds {n} pictures"
                   for p in below if (n := _number_below(p))]
    if nested:
        raise InputError(f"{wrong}{_list(nested)}: expected those of a class in its own folder, not deeper")
    kinds = Counter(_text(path.suffix.lower()) or "without an ending" if path.is_file() else "no files"
                    for path in others)
    kinds += Counter({"beside the class folders": len(loose), "linked folders": links})
    words = _list(f"{kind} ({n})" for kind, n in kinds.most_common())
    return tuple(names), paths, (f"Left out, because they are no pictures of a class: {words}.",) if words else ()


def _contents(folder):
    """(files to read as pictures, other files, folders) directly in `folder`, sorted by name."""
    pictures, others, folders = [], [], []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith((".", "@")) or path.name == "__MACOSX":
            continue
        if path.is_dir():
            folders.append(path)
        else:       # is_file: no pipe, socket or device, which could keep a reader waiting for ever
            (pictures if path.is_file() and path.suffix.lower() in EXTENSIONS else others).append(path)
    return pictures, others, folders


def _number_below(folder):
    """Pictures in a folder below a class, at any depth; links are not followed."""
    if folder.is_symlink():
        return 0
    pictures, _, folders = _contents(folder)
    return len(pictures) + sum(map(_number_below, folders))


def _check_counts(labels, classes, data_dir):
    """The one rule for what is too small, from what later steps need: see NEEDED."""
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < NEEDED:
        few = _list(f"{name!r} has {n}" for name, n in zip(classes, counts, strict=True) if n < NEEDED)
        raise InputError(f"data_dir={data_dir!r}: expected at least {NEEDED} different pictures of each class, "
                         f"so that {TESTED} are left for the test, but {few} (read are {', '.join(EXTENSIONS)})")


# ---------------------------------------------------------------- reading
def _check_headers(paths, names):
    """Refuse by what the files' first bytes tell, before any is decoded."""
    channels, wrong = [], {}
    for path, name in zip(paths, names, strict=True):
        try:
            with _opened(path) as picture:
                channels.append(len(picture.getbands()))
                _check_picture(picture)
        except Exception as error:      # a damaged file can make a decoder raise anything
            wrong[name] = _reason(error)
    _refuse(wrong)
    kinds = [[name for c, name in zip(channels, names, strict=True) if c == count] for count in (1, 3)]
    if all(kinds):
        (grey, colour), (g, c) = kinds, map(len, kinds)
        raise InputError(f"{g} grey ({grey[0]}) beside {c} coloured pictures ({colour[0]}): "
                         "expected one kind in all class folders")


def _read_all(paths, names, root, size):
    """(N, C, H, W) uint8 of the files, each decoded once, see `decoded`. InputError names all that are unreadable."""
    known, pictures, digests, wrong, first = decoded.load(root, size), {}, [], {}, {}
    for path, name in zip(paths, names, strict=True):
        try:
            with path.open("rb") as file:
                digests.append(digest := hashlib.file_digest(file, "sha256").digest())
                picture = known[digest] if digest in known else _decode(file, size)
        except Exception as error:
            wrong[name] = _reason(error)
            continue
        pictures[digest] = picture
        first.setdefault(picture.shape, name)
        if size == 0 and (len(first) > 1 or max(picture.shape) > SIDES[1]):
            shapes = ", ".join(f"{name} is {w}x{h}" for (_, h, w), name in first.items())
            raise InputError(f"size=0: {shapes}: expected size={SIDES[0]} to {SIDES[1]} "
                             f"unless all images share one size of at most {SIDES[1]} pixels")
    if pictures and pictures.keys() != known.keys():
        decoded.save(root, size, pictures)
    _refuse(wrong)
    return torch.from_numpy(np.stack([pictures[digest] for digest in digests]))


def _decode(file, size):
    """(C, H, W) uint8"""
    with _opened(file) as picture:
        _check_picture(picture)
        ImageOps.exif_transpose(picture, in_place=True)
        pixels = np.array(picture)
    pixels = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
    return resize(pixels[None], size)[0].numpy()


@contextlib.contextmanager
def _opened(file):
    with warnings.catch_warnings():     # of odd notes in a photograph, and of many pixels: they are counted here
        warnings.simplefilter("ignore")
        with Image.open(file, formats=FORMATS) as picture:
            yield picture


def _check_picture(picture):
    w, h = picture.size
    if picture.mode not in ("L", "RGB") or "transparency" in picture.info:
        raise InputError(f"PIL mode {picture.mode}" + ", transparent" * ("transparency" in picture.info))
    if min(w, h) < SIDES[0] or w * h > PIXELS:
        raise InputError(f"{w}x{h} pixels")


def _reason(error):
    if isinstance(error, UnidentifiedImageError):
        return f"none of {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {PIXELS:,} pixels"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _refuse(wrong):
    """wrong: {name of a file: why}"""
    if wrong:
        raise InputError(f"cannot use {_list(f'{name} ({why})' for name, why in wrong.items())}: expected whole 8-bit "
                         f"grey or RGB images, from {SIDES[0]}x{SIDES[0]} to {PIXELS:,} pixels")


# ---------------------------------------------------------------- copies
def _without_copies(images, names):
    """(The images without copies, notes on them). InputError where a picture stands in two classes."""
    first = copies.first_near(images.images)
    copy = np.flatnonzero(first != np.arange(len(first)))
    labels = images.labels.numpy()
    if two := [f"{names[first[i]]} and {names[i]}" for i in copy if labels[first[i]] != labels[i]]:
        raise InputError(f"the same picture stands in two classes: {_list(two, '; ')}: expected one class for each")
    if not len(copy):
        return images, ()
    equal = int((copies.first_equal(images.images) != np.arange(len(first))).sum())
    return select(images, first == np.arange(len(first))), (
        f"Left out, because they are copies of other pictures: {equal} equal to another one and {len(copy) - equal} "
        f"at most {copies.COPY:g} grey level from one, such as {names[copy[0]]} of {names[first[copy[0]]]}.",)


# ---------------------------------------------------------------- words
def _text(name):
    """`name` on one line and in UTF-8: control characters and what is no UTF-8 are escaped."""
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in ("Cc", "Cs") else c for c in name)


def _list(words, comma=", "):
    """The first five, and how many more."""
    words = list(words)
    return comma.join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")
