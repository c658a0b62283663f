"""CIFAR-10 and Fashion-MNIST, through torchvision."""
import os
import tempfile
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.datasets.utils import check_integrity

from lib import DamagedError, InputError
from lib.data.images import Images, Split, absolute, hold_out, resize, select


def cifar10(*, data_dir, size, per_class, seed):
    """CIFAR-10 (Krizhevsky 2009): 45,000 / 5,000 / 10,000 colour images, 32x32. torchvision's md5 is checked."""
    source = torchvision.datasets.CIFAR10
    md5s = dict([*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])])
    return _official(source, source.base_folder, md5s, source.url, data_dir, size, per_class, seed)


def fashion_mnist(*, data_dir, size, per_class, seed):
    """Fashion-MNIST (Xiao et al. 2017): 54,000 / 6,000 / 10,000 grey images, 28x28. Files are checked by length."""
    lengths = {f"raw/{part}-{kind}-ubyte": header + n * each for part, n in (("train", 60_000), ("t10k", 10_000))
               for kind, header, each in (("images-idx3", 16, 28 * 28), ("labels-idx1", 8, 1))}
    source = torchvision.datasets.FashionMNIST
    return _official(source, "FashionMNIST", lengths, f"the four .gz files of {source.mirrors[0]}",
                     data_dir, size, per_class, seed)


def _official(source, folder, files, archive, data_dir, size, per_class, seed):
    """The official test; of the other images, a tenth of each class, chosen by `seed`, is validation, the rest train.

    Downloads only where there is no `folder`, never over a damaged one. per_class=0 keeps train in the files' order.
    files: name in `folder` -> md5 (text) or length in bytes. archive: what to unpack by hand.
    """
    root = absolute(data_dir) if data_dir else default_data_dir()
    target = root / folder
    by_hand = f"unpack {archive} so that {target / next(iter(files))} exists"
    if not target.exists():
        _download(source, target, by_hand)
    damaged = [name for name, expected in files.items() if not _intact(target / name, expected)]
    if damaged:
        raise DamagedError(f"{target} is damaged or incomplete ({', '.join(damaged)}): "
                         f"move this folder away to download it again, or {by_hand}")
    pool, test = (_from_torchvision(source(root, train=part), size) for part in (True, False))
    order = np.random.RandomState(seed).permutation(len(pool))
    train, validation = hold_out(pool, order, 0.1, per_class)
    return Split(select(pool, train if per_class else np.sort(train)), select(pool, validation), test)


def default_data_dir():
    """DREAMING_DATA_DIR, else dreaming-data in the user's cache folder."""
    if chosen := os.environ.get("DREAMING_DATA_DIR"):
        return absolute(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dreaming-data"


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
