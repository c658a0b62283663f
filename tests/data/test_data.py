import hashlib
import os
import pickle
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from lib import ROOT, InputError, data
from lib.data import images, official
from lib.data.digits import _place, _plain_digits, digit_oracle
from lib.data.images import Images, fingerprint, join, resize, select, to_float, to_uint8

CIFAR, FASHION = torchvision.datasets.CIFAR10, torchvision.datasets.FashionMNIST


def some_images(n=6, channels=1, side=8, classes=("a", "b")):
    g = torch.Generator().manual_seed(n)
    return Images(torch.randint(0, 256, (n, channels, side, side), generator=g, dtype=torch.uint8),
                       torch.arange(n) % len(classes), classes)


def positions(split):
    """Index in the whole data set of each train, validation and test image of plain digits (all 1,797 differ)."""
    where = {bytes(x.numpy()): k for k, x in enumerate(_plain_digits().images)}
    return [[where[bytes(x.numpy())] for x in part.images] for part in (split.train, split.validation, split.test)]


def contents(folder):
    return {p.relative_to(folder).as_posix(): (p.is_dir() or p.read_bytes(), p.stat().st_mtime_ns)
            for p in sorted(folder.rglob("*"))}


# ---------------------------------------------------------------- scale and containers
def test_all_256_values_survive_the_round_trip():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    x = to_float(images)
    assert x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
    assert torch.equal(to_uint8(x), images)


def test_to_uint8_rounds_and_clamps():
    x = torch.tensor([-7.0, -1.0, 0.51 / 127.5 - 1, 1.0, 7.0])
    assert to_uint8(x).tolist() == [0, 0, 1, 255, 255]


def test_images_that_are_not_numbers_are_refused():
    with pytest.raises(InputError, match="images hold NaN: expected numbers"):
        to_uint8(torch.tensor([0.0, float("nan")]))


def test_floats_are_not_scaled_twice():
    with pytest.raises(InputError, match="images are torch.float32: expected torch.uint8"):
        to_float(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("images, labels, classes, message", [
    (torch.zeros(2, 1, 8, 8), torch.zeros(2).long(), ("a",), r"torch.float32 .*expected torch.uint8 \(N, C, H, W\)"),
    (torch.zeros(2, 8, 8).byte(), torch.zeros(2).long(), ("a",), r"shape \(2, 8, 8\): expected .*\(N, C, H, W\)"),
    (torch.zeros(2, 1, 8, 8).byte(), torch.zeros(2), ("a",), r"labels are torch.float32 .*expected torch.int64 \(2,\)"),
    (torch.zeros(2, 1, 8, 8).byte(), torch.zeros(3).long(), ("a",), r"shape \(3,\): expected torch.int64 \(2,\)"),
    (torch.zeros(2, 1, 8, 8).byte(), torch.tensor([0, 1]), ("a",), "labels from 0 to 1: expected 0 to 0"),
    (torch.zeros(2, 1, 8, 8).byte(), torch.tensor([-1, 0]), ("a",), "labels from -1 to 0: expected 0 to 0"),
    (torch.zeros(2, 1, 8, 8).byte(), torch.zeros(2).long(), ["a"], r"classes=\['a'\]: expected a tuple"),
])
def test_images_refuse_what_does_not_fit(images, labels, classes, message):
    with pytest.raises(InputError, match=message):
        Images(images, labels, classes)


def test_join_appends_and_select_picks():
    a, b = some_images(6), some_images(4)
    both = join(a, b)
    assert len(both) == 10
    assert torch.equal(select(both, range(6)).images, a.images)
    assert torch.equal(select(both, slice(6, None)).images, b.images)
    assert select(both, both.labels == 1).labels.tolist() == [1] * 5
    assert len(select(both, [])) == 0


def test_only_like_images_are_joined():
    with pytest.raises(InputError, match=r"cannot join classes \('a', 'b'\) and \('a', 'c'\): expected the same"):
        join(some_images(), some_images(classes=("a", "c")))
    with pytest.raises(InputError, match=r"cannot join images of shape \(1, 8, 8\) and \(3, 8, 8\): expected the same"):
        join(some_images(), some_images(channels=3))


def test_halving_the_size_averages_2x2_pixels():
    images = some_images(3, channels=3, side=32).images
    mean = images.double().unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)).round()
    assert torch.equal(resize(images, 16).double(), mean)


@pytest.mark.parametrize("size", [8, 12, 20, 33, 64])
def test_resizing_keeps_a_flat_image_flat(size):
    resized = resize(torch.full((2, 1, 32, 32), 77, dtype=torch.uint8), size)
    assert resized.shape == (2, 1, size, size) and bool((resized == 77).all())


def test_resizing_keeps_the_square_in_the_middle():
    wide = torch.cat([torch.zeros(1, 1, 8, 4), torch.full((1, 1, 8, 8), 200), torch.zeros(1, 1, 8, 4)], 3).byte()
    assert bool((resize(wide, 8) == 200).all())


# ---------------------------------------------------------------- digits
def test_half_of_the_digits_are_the_test():
    split = data.load("digits")
    assert len(split.train) + len(split.validation) == 899 and len(split.test) == 898
    assert split.image_shape == (1, 8, 8) and split.classes == tuple("0123456789")


def test_a_fifth_of_each_class_of_the_other_digits_is_validation():
    split = data.load("digits", seed=2)
    held_out = split.validation.labels.bincount()
    assert held_out.tolist() == [round(n / 5) for n in (split.train.labels.bincount() + held_out).tolist()]


def test_grey_values_0_to_16_fill_0_to_255():
    assert _plain_digits().images.unique().tolist() == [round(v * 255 / 16) for v in range(17)]


def test_train_validation_and_test_digits_are_disjoint():
    train, validation, test = positions(data.load("digits", seed=4))
    assert sorted(train + validation + test) == list(range(1797))


def test_per_class_gives_that_many_of_each_class_and_the_same_validation_and_test():
    few, many, every = (positions(data.load("digits", per_class=n)) for n in (5, 50, 0))
    labels = _plain_digits().labels
    assert labels[few[0]].bincount().tolist() == [5] * 10
    assert few[1:] == many[1:] == every[1:]
    assert set(few[0]) < set(many[0]) < set(every[0])


def test_train_is_the_first_and_validation_the_last_of_each_class_in_the_seeded_order():
    order, labels = np.random.RandomState(3).permutation(1797)[898:], _plain_digits().labels.numpy()
    train, validation, _ = positions(data.load("digits", per_class=7, seed=3))
    for k in range(10):
        of_class = order[labels[order] == k].tolist()
        assert train[7 * k:7 * k + 7] == of_class[:7]
        held_out = [p for p in validation if labels[p] == k]
        assert held_out == of_class[-len(held_out):]


def test_canvas_moves_digits_and_changes_neither_split_nor_pixels():
    plain, placed = data.load("digits", per_class=10), data.load("digits", canvas=12, per_class=10)
    assert placed.image_shape == (1, 12, 12)
    assert torch.equal(plain.validation.labels, placed.validation.labels)
    assert torch.equal(plain.test.labels, placed.test.labels)
    for small, large in zip(plain.train.images, placed.train.images, strict=True):
        windows = large[0].unfold(0, 8, 1).unfold(1, 8, 1)
        assert bool((windows == small[0]).all((2, 3)).any()) and large.sum() == small.sum()


def test_digits_stand_in_every_place_about_equally_often():
    images = _place(torch.full((5000, 1, 8, 8), 9, dtype=torch.uint8), 12, np.random.RandomState(0))
    corner = images[:, 0].flatten(1).argmax(1)               # the first pixel that is not black
    counts = corner.bincount(minlength=144)
    assert (counts > 0).sum() == 25 and counts[counts > 0].min() > 140           # 200 +- 14: four deviations


def test_canvas_8_is_plain():
    assert fingerprint(data.load("digits", canvas=8)) == fingerprint(data.load("digits"))


def test_a_seed_fixes_split_and_places():
    first, again, other = (data.load("digits", canvas=12, seed=s) for s in (1, 1, 2))
    assert fingerprint(first) == fingerprint(again) != fingerprint(other)
    one, two = (positions(data.load("digits", seed=s)) for s in (1, 2))
    assert all(set(a) != set(b) for a, b in zip(one, two, strict=True))


def test_seed_0_means_the_same_images_on_every_machine():          # golden: RandomState's stream is frozen
    assert fingerprint(data.load("digits", canvas=12, per_class=50))[:16] == "7f7aa4d67de3e122"


def test_too_many_per_class_names_the_class_and_the_most_that_is_left_beside_validation():
    counts = data.load("digits").train.labels.bincount()
    most, k = int(counts.min()), int(counts.argmin())
    assert data.load("digits", per_class=most).train.labels.bincount().tolist() == [most] * 10
    with pytest.raises(InputError, match=f"per_class={most + 1}: expected at most {most}, "
                                         f"all training images of class '{k}'"):
        data.load("digits", per_class=most + 1)


@pytest.mark.parametrize("canvas", [0, 12])
def test_oracle_is_right_on_held_out_digits(canvas):
    known, test = data.load("digits").train, data.load("digits", canvas=canvas).test
    right = digit_oracle(canvas, known)(test.images) == test.labels
    assert right.float().mean() >= 0.95


def test_oracle_agrees_with_a_plain_search_over_all_places():
    known = select(_plain_digits(), slice(0, 60))
    images = torch.randint(0, 256, (20, 1, 11, 11), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    best = []
    for image in images.long():
        distance = {}
        for k, digit in enumerate(known.images.long()):
            for i, j in np.ndindex(4, 4):
                placed = torch.zeros(11, 11).long()
                placed[i:i + 8, j:j + 8] = digit[0]
                distance[k, i, j] = int((image[0] - placed).square().sum())
        best.append(known.labels[min(distance, key=distance.get)[0]])
    assert digit_oracle(11, known)(images).tolist() == torch.stack(best).tolist()


def test_oracle_knows_every_real_digit_and_an_empty_batch():
    split = data.load("digits", canvas=10)
    assert torch.equal(digit_oracle(10)(split.train.images), split.train.labels)
    assert digit_oracle(10)(split.train.images[:0]).shape == (0,)


def test_oracle_refuses_another_canvas():
    with pytest.raises(InputError, match=r"shape \(2, 1, 12, 12\): expected torch.uint8 \(N, 1, 9, 9\)"):
        digit_oracle(9)(torch.zeros(2, 1, 12, 12, dtype=torch.uint8))


# ---------------------------------------------------------------- names and options
def test_unknown_dataset_lists_the_accepted_names():
    with pytest.raises(InputError, match="dataset='mnist': expected one of 'digits', 'cifar10', 'fashion_mnist', 'fol"):
        data.load("mnist")


@pytest.mark.parametrize("dataset, option, message", [
    ("cifar10", {"canvas": 12}, "canvas=12: dataset='cifar10' takes only data_dir, size, per_class, seed"),
    ("digits", {"size": 16}, "size=16: dataset='digits' takes only canvas, per_class, seed"),
    ("digits", {"data_dir": "x"}, "data_dir='x': dataset='digits' takes only canvas, per_class, seed"),
    ("folder", {"canvas": 9}, "canvas=9: dataset='folder' takes only data_dir, size, per_class, seed"),
    ("digits", {"canvas": 7}, "canvas=7: expected 0, or a number from 8 to 32"),
    ("cifar10", {"size": 65}, "size=65: expected 0, or a number from 8 to 64"),
    ("digits", {"per_class": -1}, "per_class=-1: expected at least 0"),
    ("digits", {"seed": -1}, "seed=-1: expected at least 0"),
])
def test_options_that_do_not_fit_are_refused(dataset, option, message):
    with pytest.raises(InputError, match=message):
        data.load(dataset, **option)


def test_check_says_what_a_config_loads():
    config = SimpleNamespace(dataset="digits", data_dir="", size=0, canvas=12, per_class=3, data_seed=5)
    split = data.load("digits", canvas=12, per_class=3, seed=5)
    assert data.check(config) == {"dataset": "digits", "train": 30, "validation": len(split.validation), "test": 898,
                                  "shape": [1, 12, 12], "sha256": fingerprint(split)}


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_one_changed_pixel_or_label_changes_the_fingerprint(part):
    split = data.load("digits", per_class=2)
    before = fingerprint(split)
    getattr(split, part).images[-1, 0, 4, 4] ^= 1
    changed = fingerprint(split)
    getattr(split, part).labels[-1] ^= 1
    assert len({before, changed, fingerprint(split)}) == 3


# ---------------------------------------------------------------- a small set in CIFAR-10's and Fashion-MNIST's files
def no_network(*_):
    raise URLError("Name or service not known")


@pytest.fixture
def small_cifar(tmp_path, monkeypatch):
    """Writes 5 x 40 + 20 images with CIFAR-10's file names and format; torchvision expects their md5."""
    rng = np.random.RandomState(0)

    def batch(n):
        return {"data": rng.randint(0, 256, (n, 3072), "uint8"), "labels": [k % 10 for k in range(n)]}
    files = {name: pickle.dumps(batch(20 if name == "test_batch" else 40))
             for name, _ in [*CIFAR.train_list, *CIFAR.test_list]}
    files["batches.meta"] = pickle.dumps({"label_names": [f"class{k}" for k in range(10)]})
    md5s = [[name, hashlib.md5(content).hexdigest()] for name, content in files.items()]
    monkeypatch.setattr(CIFAR, "train_list", md5s[:5])
    monkeypatch.setattr(CIFAR, "test_list", md5s[5:6])
    monkeypatch.setattr(CIFAR, "meta", CIFAR.meta | {"md5": md5s[6][1]})
    monkeypatch.setattr(CIFAR, "download", no_network)

    def write(root):
        (Path(root) / CIFAR.base_folder).mkdir(parents=True)
        for name, content in files.items():
            (Path(root) / CIFAR.base_folder / name).write_bytes(content)
        return files
    return write


def test_cifar_files_keep_order_channels_and_names(small_cifar, tmp_path):
    files = small_cifar(tmp_path)
    split = data.load("cifar10", data_dir=str(tmp_path))
    assert (len(split.train), len(split.validation), len(split.test)) == (180, 20, 20)
    assert split.image_shape == (3, 32, 32) and split.classes == tuple(f"class{k}" for k in range(10))
    stored = np.concatenate([pickle.loads(files[f"data_batch_{k}"])["data"] for k in range(1, 6)])
    held_out = {bytes(x.numpy()) for x in split.validation.images}
    left = [x for x in torch.from_numpy(stored).view(-1, 3, 32, 32) if bytes(x.numpy()) not in held_out]
    assert torch.equal(split.train.images, torch.stack(left))


def test_a_tenth_of_each_class_of_cifar_is_validation_chosen_by_seed_alone(small_cifar, tmp_path):
    small_cifar(tmp_path)
    splits = [data.load("cifar10", data_dir=str(tmp_path), size=16, per_class=n, seed=s)
              for n, s in ((0, 0), (4, 0), (18, 0), (0, 1))]
    assert all(split.validation.labels.bincount().tolist() == [2] * 10 for split in splits)
    every, few, most, other = ([{bytes(x.numpy()) for x in part.images} for part in
                                (split.train, split.validation, split.test)] for split in splits)
    assert len(set.union(*every)) == 220 == sum(map(len, every))                     # disjoint, and nothing lost
    assert every[1] == few[1] == most[1] != other[1]
    assert every[2] == few[2] == most[2] == other[2] and few[0] < most[0] == every[0]
    with pytest.raises(InputError, match="per_class=19: expected at most 18, all training images of class 'class0'"):
        data.load("cifar10", data_dir=str(tmp_path), per_class=19)


def test_cifar_subset_is_chosen_by_seed_and_grows_with_per_class(small_cifar, tmp_path):
    small_cifar(tmp_path)

    def train(**options):
        split = data.load("cifar10", data_dir=str(tmp_path), size=16, **options)
        assert len(split.test) == 20 and split.image_shape == (3, 16, 16)
        return split.train
    few, more, other = train(per_class=4), train(per_class=8), train(per_class=4, seed=1)
    assert few.labels.bincount().tolist() == [4] * 10
    as_set = [{bytes(x.numpy()) for x in part.images} for part in (few, more, other)]
    assert as_set[0] < as_set[1] and as_set[0] != as_set[2]


def test_data_dir_defaults_to_the_environment_then_the_cache(small_cifar, tmp_path, monkeypatch):
    small_cifar(tmp_path / "class")
    monkeypatch.setenv("DREAMING_DATA_DIR", str(tmp_path / "class"))
    assert len(data.load("cifar10").train) == 180
    monkeypatch.delenv("DREAMING_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert official.default_data_dir() == tmp_path / "cache" / "dreaming-data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert official.default_data_dir() == Path.home() / ".cache" / "dreaming-data"


def test_a_relative_data_dir_counts_from_the_project_wherever_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert images.absolute("somewhere") == ROOT / "somewhere"


def test_download_fills_the_folder_once_and_leaves_nothing_else(small_cifar, tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR, "download", lambda self: small_cifar(self.root))
    root = tmp_path / "new" / "cache"
    assert len(data.load("cifar10", data_dir=str(root)).train) == 180
    assert [p.name for p in root.iterdir()] == [CIFAR.base_folder] and len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(CIFAR, "download", no_network)
    assert len(data.load("cifar10", data_dir=str(root)).train) == 180


def test_a_second_process_that_downloads_at_the_same_time_does_no_harm(small_cifar, tmp_path, monkeypatch):
    def both(self):
        small_cifar(self.root)
        small_cifar(tmp_path)                                   # the other process was faster
        theirs.update(contents(tmp_path / CIFAR.base_folder))
    theirs = {}
    monkeypatch.setattr(CIFAR, "download", both)
    assert len(data.load("cifar10", data_dir=str(tmp_path)).train) == 180
    assert [p.name for p in tmp_path.iterdir()] == [CIFAR.base_folder]
    assert contents(tmp_path / CIFAR.base_folder) == theirs


@pytest.mark.parametrize("dataset, source, archive", [("cifar10", CIFAR, "cifar-10-python.tar.gz"),
                                                      ("fashion_mnist", FASHION, "the four .gz files")])
@pytest.mark.parametrize("there", [True, False])
def test_missing_data_without_network_says_what_to_do_by_hand(dataset, source, archive, there, tmp_path, monkeypatch):
    def breaks_off(self):
        (Path(self.root) / "half.tar.gz").write_bytes(b"half")
        no_network()
    monkeypatch.setattr(source, "download", breaks_off)
    root = tmp_path / "data"
    if there:
        root.mkdir()
        (root / "mine.txt").write_text("keep")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=rf"could not download {source.__name__} to {re.escape(str(root))}.*"
                                         r"Name or service not known.*connect to the network, or unpack "
                                         rf".*{archive}.* so that {re.escape(str(root))}.* exists"):
        data.load(dataset, data_dir=str(root))
    after = contents(tmp_path)
    assert {k: v[0] for k, v in after.items()} == {k: v[0] for k, v in before.items()}


def never(*_):
    raise AssertionError("downloaded over the user's files")


@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_a_damaged_file_is_named_and_nothing_is_downloaded_over_it(harm, small_cifar, tmp_path, monkeypatch):
    small_cifar(tmp_path)
    monkeypatch.setattr(CIFAR, "download", never)
    flip(path := tmp_path / CIFAR.base_folder / "data_batch_3")
    if harm == "remove":
        path.unlink()
    before = contents(tmp_path)
    with pytest.raises(InputError, match=rf"{re.escape(str(tmp_path))}.* is damaged or incomplete \(data_batch_3\): "
                                         "move this folder away"):
        data.load("cifar10", data_dir=str(tmp_path))
    assert contents(tmp_path) == before


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write_idx(path, array):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def test_fashion_mnist_files_are_read_and_their_length_is_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(FASHION, "download", never)
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((n, 28, 28), "uint8")
        images[:, 3, 5] = np.arange(n) % 251
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", (np.arange(n) % 10).astype("uint8"))
    split = data.load("fashion_mnist", data_dir=str(tmp_path), per_class=20)
    assert (len(split.train), len(split.test), split.image_shape) == (200, 10_000, (1, 28, 28))
    assert split.validation.labels.bincount().tolist() == [600] * 10
    assert split.classes[9] == "Ankle boot" and split.test.images[100, 0, 3, 5] == 100
    with open(raw / "t10k-labels-idx1-ubyte", "rb+") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match=r"FashionMNIST is damaged or incomplete \(raw/t10k-labels-idx1-ubyte\)"):
        data.load("fashion_mnist", data_dir=str(tmp_path))


# ---------------------------------------------------------------- a folder of one's own
def picture(path, mode="RGB", shape=(10, 10), value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = Image.new(mode, shape, value)
    colour.putpixel((0, 0), 1) if mode in ("L", "P") else None
    colour.save(path)
    return path


@pytest.fixture
def pets(tmp_path):
    """10 cats and 5 dogs, 10x10, each of its own grey."""
    for k in range(15):
        picture(tmp_path / ("cat" if k < 10 else "dog") / f"{k:02}.png", "L", value=10 * k)
    return tmp_path


def refused(folder, message, **options):
    """`load` raises InputError with `message`, and nothing in the folder has changed."""
    before = contents(folder)
    with pytest.raises(InputError, match=message):
        data.load("folder", data_dir=str(folder), **options)
    assert contents(folder) == before


def test_grey_folder_has_one_channel_and_a_fifth_of_each_class_is_the_test_and_of_the_rest_validation(pets):
    split = data.load("folder", data_dir=str(pets))
    assert split.image_shape == (1, 10, 10) and split.classes == ("cat", "dog")
    parts = split.train, split.validation, split.test
    assert [part.labels.bincount().tolist() for part in parts] == [[6, 3], [2, 1], [2, 1]]
    greys = torch.cat([part.images for part in parts])[:, 0, 5, 5]
    assert sorted(greys.tolist()) == list(range(0, 150, 10))
    assert bool(((greys >= 100).long() == torch.cat([part.labels for part in parts])).all())


def test_folder_split_is_fixed_by_seed_and_per_class_limits_train(pets):
    def prints(**options):
        return fingerprint(data.load("folder", data_dir=str(pets), **options))
    assert prints(seed=1) == prints(seed=1) != prints(seed=2)
    few, every = (data.load("folder", data_dir=str(pets), per_class=n) for n in (2, 0))
    assert few.train.labels.bincount().tolist() == [2, 2]
    assert torch.equal(few.validation.images, every.validation.images)
    assert torch.equal(few.test.images, every.test.images)
    refused(pets, "per_class=4: expected at most 3, all training images of class 'dog'", per_class=4)


def test_colour_folder_of_several_sizes_is_resized(tmp_path):
    for k, end in enumerate(["png", "jpg", "bmp", "webp", "png", "jpg"]):
        picture(tmp_path / f"class{k % 2}" / f"{k}.{end}", shape=(20 + k, 30), value=(10, 20, 30))
    split = data.load("folder", data_dir=str(tmp_path), size=16)
    assert split.image_shape == (3, 16, 16)
    assert (split.test.images.float().mean((0, 2, 3)) - torch.tensor([10.0, 20, 30])).abs().max() < 4      # jpg


def test_photos_are_turned_as_their_exif_note_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6                                            # shown turned by 90 degrees
    for k in range(6):
        path = picture(tmp_path / f"class{k % 2}" / f"{k}.png", "L", (10, 12))
        Image.open(path).save(path, exif=exif)
    assert data.load("folder", data_dir=str(tmp_path)).image_shape == (1, 10, 12)


def test_hidden_files_and_folders_are_no_data(pets):
    shutil.copytree(pets / "cat", pets / ".ipynb_checkpoints")
    shutil.copytree(pets / "dog", pets / "dog" / ".ipynb_checkpoints")
    (pets / "dog" / "._10.png").write_bytes(b"Finder's note")
    (pets / "dog" / "notes.txt").write_text("no image")
    split = data.load("folder", data_dir=str(pets))
    assert split.classes == ("cat", "dog") and sum(map(len, (split.train, split.validation, split.test))) == 15


def test_grey_and_colour_mixed_names_one_of_each(pets):
    picture(pets / "dog" / "colour.png")
    refused(pets, "cat/00.png is grey and dog/colour.png is colour: expected one kind")


def test_several_sizes_need_the_option_size(pets):
    picture(pets / "dog" / "wide.png", "L", (12, 9))
    refused(pets, "size=0: cat/00.png is 10x10, dog/wide.png is 12x9: expected size=8 to 64 unless")
    assert data.load("folder", data_dir=str(pets), size=8).image_shape == (1, 8, 8)


def test_large_images_need_the_option_size(tmp_path):
    for k in range(6):
        picture(tmp_path / f"class{k % 2}" / f"{k}.png", "L", (65, 65))
    refused(tmp_path, "size=0: class0/0.png is 65x65: expected size=8 to 64")


def test_a_truncated_image_is_named(pets):
    rng = np.random.RandomState(0)
    path = pets / "cat" / "03.png"
    Image.fromarray(rng.randint(0, 256, (40, 40), "uint8")).save(path)
    path.write_bytes(path.read_bytes()[:900])
    refused(pets, r"cannot use cat/03.png \(.*(truncated|broken).*\): expected whole 8-bit grey or RGB images", size=8)


def test_five_bad_files_are_listed_and_the_rest_counted(pets):
    for k in range(7):
        (pets / "cat" / f"bad{k}.png").write_bytes(b"no image")
    refused(pets, r"cat/bad0.png \(in no known image format\).*bad4.png \([^)]*\) and 2 more")


@pytest.mark.parametrize("mode, reason", [("RGBA", "PIL mode RGBA"), ("LA", "PIL mode LA"), ("P", "PIL mode P"),
                                          ("1", "PIL mode 1"), ("I;16", "PIL mode I;16")])
def test_images_that_would_need_converting_are_refused(mode, reason, pets):
    picture(pets / "dog" / "odd.png", mode)
    refused(pets, rf"cannot use dog/odd.png \({reason}\): expected whole 8-bit grey or RGB")


def test_a_transparent_colour_is_refused(pets):
    Image.new("RGB", (10, 10)).save(pets / "dog" / "key.png", transparency=(0, 0, 0))
    refused(pets, r"dog/key.png \(PIL mode RGB, transparent\)")


def test_a_tiny_image_is_refused(pets):
    picture(pets / "cat" / "dot.png", "L", (1, 1))
    refused(pets, r"cat/dot.png \(1x1 pixels\): expected .* at least 8x8 pixels", size=8)


def test_a_class_folder_without_images_is_named(pets):
    (pets / "fish").mkdir()
    (pets / "fish" / "film.gif").write_bytes(b"")
    refused(pets, r"at least 3 images in each class folder, but 'fish' has 0 \(images end in .jpg")


def test_a_class_needs_three_images_one_for_each_part(pets):
    picture(pets / "fish" / "one.png", "L")
    picture(pets / "fish" / "two.png", "L")
    refused(pets, "expected at least 3 images in each class folder, but 'fish' has 2")
    picture(pets / "fish" / "three.png", "L")
    split = data.load("folder", data_dir=str(pets))
    assert [int((part.labels == 2).sum()) for part in (split.train, split.validation, split.test)] == [1, 1, 1]


def test_no_class_folder_and_only_one_are_refused(tmp_path):
    picture(tmp_path / "loose.png")
    refused(tmp_path, "expected at least 2 class folders, with images as class/name.png, but found 0: none")
    picture(tmp_path / "cat" / "0.png")
    refused(tmp_path, "but found 1: cat")


@pytest.mark.parametrize("data_dir", ["", "no/such/folder"])
def test_folder_needs_a_folder(data_dir):
    with pytest.raises(InputError, match=f"data_dir='{data_dir}': expected a folder of class folders"):
        data.load("folder", data_dir=data_dir)


# ---------------------------------------------------------------- the real CIFAR-10
real = pytest.mark.skipif(not os.environ.get("DREAMING_DATA_DIR") or
                          not (official.default_data_dir() / CIFAR.base_folder).is_dir(),
                          reason="set DREAMING_DATA_DIR to a folder with the real CIFAR-10")


@pytest.fixture(scope="module")
def cifar():
    return data.load("cifar10")


@real
def test_cifar10_has_4500_500_and_1000_images_per_class(cifar):
    for part, n in ((cifar.train, 4500), (cifar.validation, 500), (cifar.test, 1000)):
        assert part.labels.bincount().tolist() == [n] * 10 and part.images.shape[1:] == (3, 32, 32)
    assert cifar.classes[0] == "airplane" and cifar.classes[9] == "truck"


@real
def test_cifar10_channel_means_are_the_known_ones(cifar):
    pool = join(cifar.train, cifar.validation)                          # the official training images
    means = torch.stack([pool.images[:, c].double().mean() / 255 for c in range(3)])
    known = torch.tensor([0.4914, 0.4822, 0.4465], dtype=torch.float64)
    torch.testing.assert_close(means, known, atol=1e-3, rtol=0)


@real
def test_one_flipped_byte_of_cifar10_is_refused(tmp_path):
    shutil.copytree(official.default_data_dir() / CIFAR.base_folder, tmp_path / CIFAR.base_folder)
    flip(tmp_path / CIFAR.base_folder / "test_batch")
    with pytest.raises(InputError, match=r"is damaged or incomplete \(test_batch\)"):
        data.load("cifar10", data_dir=str(tmp_path))
