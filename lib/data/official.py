"""CIFAR-10 and Fashion-MNIST, through torchvision."""
import hashlib
import tempfile
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchvision

from lib import DamagedError, InputError
from lib.data.copies import first_equal
from lib.data.images import Images, Split, hold_out, join, of_classes, resize, select
from lib.data.places import absolute, default_data_dir, is_lfs_pointer

# of the unpacked files; torchvision knows only the md5 of the archives
FASHION_SHA256 = {
    "raw/train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "raw/train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "raw/t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "raw/t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}


class Source(NamedTuple):
    """Where a data set comes from. files: name in `folder` -> md5 or sha256. archives, url: the names and the place of
    what to unpack by hand."""

    dataset: type               # torchvision's
    folder: str
    files: dict
    archives: list
    url: str


def cifar10(*, data_dir, size, per_class, classes, seed):
    """CIFAR-10 (Krizhevsky 2009): 45,000 / 5,000 / 10,000 colour images, 32x32. torchvision's md5 is checked.

    None is equal to another. 3.3 % of the test images have a near copy among the training images, found by eye (Barz &
    Denzler 2020); it differs by more than two grey levels (rms) and stays, as in all published results.
    """
    return _official(_cifar10(), data_dir, size, per_class, classes, seed)


def fashion_mnist(*, data_dir, size, per_class, classes, seed):
    """Fashion-MNIST (Xiao et al. 2017): 54,000 / 6,000 / 10,000 grey images, 28x28. The files' sha256 is checked."""
    return _official(_fashion_mnist(), data_dir, size, per_class, classes, seed)


def to_download(dataset, data_dir):
    """The folder to which `dataset` would be downloaded, None where it is there. InputError for a wrong `data_dir`."""
    source = {"cifar10": _cifar10, "fashion_mnist": _fashion_mnist}[dataset]()
    target = _find(source, data_dir)
    return None if target.exists() else target


def _cifar10():
    source = torchvision.datasets.CIFAR10
    md5s = dict([*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])])
    return Source(source, source.base_folder, md5s, [source.filename], source.url)


def _fashion_mnist():
    source = torchvision.datasets.FashionMNIST
    return Source(source, "FashionMNIST", FASHION_SHA256, [name for name, _ in source.resources],
                  f"the four .gz files of {source.mirrors[0]}")


def _official(source, data_dir, size, per_class, classes, seed):
    """The official test; of the other images, a tenth of each class, chosen by `seed`, is validation, the rest train.

    Images equal to a test image are left out of train and validation; copies within a part stay, and are counted in the
    notes. Downloads only where there is no folder, never over a damaged one. per_class=0 keeps train in the files'
    order. classes: those that are loaded; the others change nothing in the choice of these.
    """
    target = _find(source, data_dir)
    if not target.exists():
        _download(source, target)
    if damaged := [name for name, expected in source.files.items() if not _intact(target / name, expected)]:
        pointers = [name for name in damaged if (target / name).is_file() and is_lfs_pointer(target / name)]
        lfs = f", {len(pointers)} of them a Git LFS pointer: `git lfs pull` fetches it" if pointers else ""
        raise DamagedError(f"{target} is damaged or incomplete ({', '.join(damaged)}{lfs}): "
                           f"move this folder away to download it again, or {_by_hand(source, target)}")
    pool, test = (_from_torchvision(source.dataset(target.parent, train=part), size) for part in (True, False))
    new, notes = _copies(pool, test)
    order = np.random.RandomState(seed).permutation(len(pool))
    train, validation = hold_out(pool, order[new[order]], 0.1, per_class)
    split = Split(select(pool, train if per_class else np.sort(train)), select(pool, validation), test, notes)
    return of_classes(split, classes) if classes else split


def _by_hand(source, target):
    return f"unpack {source.url} so that {target / next(iter(source.files))} exists"


def _find(source, data_dir):
    """The data set's own folder, there or not. InputError where another folder is meant."""
    root = absolute(data_dir) if data_dir else default_data_dir()
    target = root / source.folder
    if not all((target / name).exists() for name in source.files):
        _check_place(root, source.folder, source.archives, _by_hand(source, target))
    return target


def _check_place(root, folder, archives, by_hand):
    """InputError where root is one folder too deep or too high, or holds the archive as it was downloaded."""
    if places := [path.parent for path in (root, root.parent, *root.glob(f"*/{folder}"))
                  if path.name == folder and path.is_dir()]:
        raise InputError(f"data_dir={str(root)!r}: expected the folder that holds {folder}: {str(places[0])!r}")
    target = root / folder
    if packed := [path for name in archives for path in (root / name, target / name, target / "raw" / name)
                  if path.is_file()]:
        raise InputError(f"{packed[0]} is not unpacked: {by_hand}")


def _copies(pool, test):
    """(Which images of the pool are no test image, (N,) bool; notes on equal images)."""
    first = first_equal(join(test, pool).images)
    copy = first != np.arange(len(first))
    leaked = copy & (first < len(test))
    leaked[:len(test)] = False
    within = int(copy.sum() - leaked.sum())
    notes = {f"{leaked.sum()} images are left out of training and validation: they equal a test image.": leaked.sum(),
             f"{within} images equal another one of the same official part; they stay.": within}
    return ~leaked[len(test):], tuple(note for note, count in notes.items() if count)


def _intact(path, expected):
    """expected: md5 (32 characters) or sha256."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5" if len(expected) == 32 else "sha256").hexdigest() == expected


def _download(source, target):
    """Fetch into a temporary folder, then rename: never half a set, even with two processes. InputError offline."""
    beside = next(path for path in target.parents if path.is_dir())
    try:
        with tempfile.TemporaryDirectory(dir=beside, prefix="dreaming-data-") as temporary:
            source.dataset(temporary, download=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            (Path(temporary) / target.name).rename(target)
    except (OSError, RuntimeError, EOFError, HTTPException) as error:
        if not target.exists():                     # else another process was faster
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise InputError(f"could not download {source.dataset.__name__} to {target} ({reason}): "
                             f"connect to the network, or {_by_hand(source, target)}") from error


def _from_torchvision(dataset, size):
    images = torch.as_tensor(dataset.data)
    images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
    return Images(resize(images, size).contiguous(), torch.as_tensor(dataset.targets), tuple(dataset.classes))
