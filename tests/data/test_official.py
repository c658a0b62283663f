import hashlib
import os
import pickle
import re
import shutil
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from lib import DamagedError, InputError, data
from lib.data import official, places
from lib.data.images import join

CIFAR, FASHION = torchvision.datasets.CIFAR10, torchvision.datasets.FashionMNIST


# ---------------------------------------------------------------- a small set in CIFAR-10's files
def no_network(*_):
    raise URLError("Name or service not known")


@pytest.fixture
def small_cifar(monkeypatch, request):
    """Writes 5 x 40 + 20 images with CIFAR-10's file names and format; torchvision expects their md5. With
    the parameter "copies" two training images of class 3 are equal, and one of class 7 equals a test image."""
    rng = np.random.RandomState(0)

    def batch(n):
        return {"data": rng.randint(0, 256, (n, 3072), "uint8"), "labels": [k % 10 for k in range(n)]}
    batches = {name: batch(20 if name == "test_batch" else 40) for name, _ in [*CIFAR.train_list, *CIFAR.test_list]}
    if getattr(request, "param", "") == "copies":
        batches["data_batch_2"]["data"][3] = batches["data_batch_1"]["data"][3]
        batches["data_batch_5"]["data"][7] = batches["test_batch"]["data"][7]
    files = {name: pickle.dumps(content) for name, content in batches.items()}
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


def test_some_classes_of_cifar_are_those_of_the_whole_set(small_cifar, tmp_path):
    small_cifar(tmp_path)
    whole = data.load("cifar10", data_dir=str(tmp_path), per_class=4)
    some = data.load("cifar10", data_dir=str(tmp_path), per_class=4, classes=["class7", "class2"])
    assert some.classes == ("class2", "class7")
    for part in ("train", "validation", "test"):
        mine, theirs = getattr(some, part), getattr(whole, part)
        for k, label in enumerate((2, 7)):
            assert torch.equal(mine.images[mine.labels == k], theirs.images[theirs.labels == label])
    assert some.test_ids.tolist() == [k for k in range(20) if k % 10 in (2, 7)]
    with pytest.raises(InputError, match="classes: 'cat' is none: expected some of class0, class1"):
        data.load("cifar10", data_dir=str(tmp_path), classes=["class1", "cat"])


@pytest.mark.parametrize("small_cifar", ["copies"], indirect=True)
def test_a_training_image_that_equals_a_test_image_is_left_out_and_copies_within_a_part_are_counted(small_cifar, tmp_path):
    small_cifar(tmp_path)
    split = data.load("cifar10", data_dir=str(tmp_path))
    assert (len(split.train) + len(split.validation), len(split.test)) == (199, 20)
    seen = {bytes(x.numpy()) for x in join(split.train, split.validation).images}
    assert len(seen) == 198 and not seen & {bytes(x.numpy()) for x in split.test.images}
    assert split.notes == ("1 images are left out of training and validation: they equal a test image.",
                           "1 images equal another one of the same official part; they stay.")


@pytest.mark.parametrize("place, expected", [("data/cifar-10-batches-py", "data"), ("", "data")])
def test_a_folder_too_deep_or_too_high_is_told_the_right_one(place, expected, small_cifar, tmp_path, monkeypatch):
    small_cifar(tmp_path / "data")
    monkeypatch.setattr(CIFAR, "download", never)
    with pytest.raises(InputError, match=f"expected the folder that holds cifar-10-batches-py: '{tmp_path / expected}'"):
        data.load("cifar10", data_dir=str(tmp_path / place))


@pytest.mark.parametrize("dataset, source, archive", [("cifar10", CIFAR, "cifar-10-python.tar.gz"),
                                                      ("fashion_mnist", FASHION, "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz")])
def test_an_archive_that_is_not_unpacked_is_named(dataset, source, archive, tmp_path, monkeypatch):
    (tmp_path / archive).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / archive).write_bytes(b"packed")
    monkeypatch.setattr(source, "download", never)
    with pytest.raises(InputError, match=f"{tmp_path / archive} is not unpacked: unpack .* so that .* exists"):
        data.load(dataset, data_dir=str(tmp_path))


def test_data_dir_defaults_to_the_environment_then_the_cache(small_cifar, tmp_path, monkeypatch):
    small_cifar(tmp_path / "class")
    monkeypatch.setenv("DREAMING_DATA_DIR", str(tmp_path / "class"))
    assert len(data.load("cifar10").train) == 180
    monkeypatch.delenv("DREAMING_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert places.default_data_dir() == tmp_path / "cache" / "dreaming-data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert places.default_data_dir() == Path.home() / ".cache" / "dreaming-data"


def test_a_relative_data_dir_counts_from_the_project_in_a_run_and_from_the_working_directory_in_a_call(small_cifar, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_cifar("here")
    assert len(data.load("cifar10", data_dir="here").train) == 180
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.chdir("/")
    options = {"dataset": "cifar10", "data_dir": "here", "size": 0, "canvas": 0, "per_class": 0, "data_seed": 0}
    assert len(data.load_for(options).train) == 180


def test_what_would_be_downloaded_is_known_without_doing_it(small_cifar, tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR, "download", never)
    asked = {"dataset": "cifar10", "data_dir": str(tmp_path)}
    assert data.to_download(asked) == tmp_path / CIFAR.base_folder
    small_cifar(tmp_path)
    assert data.to_download(asked) is None and data.to_download({"dataset": "digits", "data_dir": ""}) is None
    with pytest.raises(InputError, match="expected the folder that holds cifar-10-batches-py"):
        data.to_download(asked | {"data_dir": str(tmp_path / CIFAR.base_folder)})


def test_download_fills_the_folder_once_and_leaves_nothing_else(small_cifar, tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR, "download", lambda self: small_cifar(self.root))
    root = tmp_path / "new" / "cache"
    assert len(data.load("cifar10", data_dir=str(root)).train) == 180
    assert [p.name for p in root.iterdir()] == [CIFAR.base_folder] and len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(CIFAR, "download", no_network)
    assert len(data.load("cifar10", data_dir=str(root)).train) == 180


def test_a_second_process_that_downloads_at_the_same_time_does_no_harm(small_cifar, tmp_path, monkeypatch, contents):
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
def test_missing_data_without_network_says_what_to_do_by_hand(dataset, source, archive, tmp_path, monkeypatch, contents):
    def breaks_off(self):
        (Path(self.root) / "half.tar.gz").write_bytes(b"half")
        no_network()
    monkeypatch.setattr(source, "download", breaks_off)
    root = tmp_path / "data"
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
def test_a_damaged_file_is_named_and_nothing_is_downloaded_over_it(harm, small_cifar, tmp_path, monkeypatch, contents):
    small_cifar(tmp_path)
    monkeypatch.setattr(CIFAR, "download", never)
    flip(path := tmp_path / CIFAR.base_folder / "data_batch_3")
    if harm == "remove":
        path.unlink()
    before = contents(tmp_path)
    with pytest.raises(DamagedError, match=rf"{re.escape(str(tmp_path))}.* is damaged or incomplete \(data_batch_3\): "
                                         "move this folder away"):
        data.load("cifar10", data_dir=str(tmp_path))
    assert contents(tmp_path) == before


def test_a_git_lfs_pointer_in_the_place_of_a_file_is_called_one(small_cifar, tmp_path):
    small_cifar(tmp_path)
    (tmp_path / CIFAR.base_folder / "test_batch").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(DamagedError, match=r"\(test_batch, 1 of them a Git LFS pointer: `git lfs pull` fetches it\)"):
        data.load("cifar10", data_dir=str(tmp_path))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write_idx(path, array):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


@pytest.fixture
def small_fashion(tmp_path, monkeypatch):
    """600 + 100 images in Fashion-MNIST's files; the loader expects their sha256."""
    monkeypatch.setattr(FASHION, "download", never)
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 600), ("t10k", 100)):
        images = np.random.RandomState(n).randint(0, 256, (n, 28, 28), "uint8")
        images[:, 3, 5] = np.arange(n) % 251
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", (np.arange(n) % 10).astype("uint8"))
    monkeypatch.setattr(official, "FASHION_SHA256", {
        f"raw/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(raw.iterdir())})
    return raw


def test_fashion_mnist_files_are_read(small_fashion, tmp_path):
    split = data.load("fashion_mnist", data_dir=str(tmp_path), per_class=20)
    assert (len(split.train), len(split.test), split.image_shape) == (200, 100, (1, 28, 28))
    assert split.validation.labels.bincount().tolist() == [6] * 10
    assert split.classes[9] == "Ankle boot" and split.test.images[90, 0, 3, 5] == 90


def test_one_flipped_byte_of_fashion_mnist_is_refused(small_fashion, tmp_path):
    flip(small_fashion / "t10k-images-idx3-ubyte")
    with pytest.raises(DamagedError, match=r"FashionMNIST is damaged or incomplete \(raw/t10k-images-idx3-ubyte\)"):
        data.load("fashion_mnist", data_dir=str(tmp_path))


# ---------------------------------------------------------------- the real CIFAR-10
real = pytest.mark.skipif(not os.environ.get("DREAMING_DATA_DIR") or
                          not (places.default_data_dir() / CIFAR.base_folder).is_dir(),
                          reason="set DREAMING_DATA_DIR to a folder with the real CIFAR-10")


@pytest.fixture(scope="module")
def cifar():
    return data.load("cifar10")


@real
def test_cifar10_has_4500_500_and_1000_images_per_class(cifar):
    for part, n in ((cifar.train, 4500), (cifar.validation, 500), (cifar.test, 1000)):
        assert part.labels.bincount().tolist() == [n] * 10 and part.images.shape[1:] == (3, 32, 32)
    assert cifar.classes[0] == "airplane" and cifar.classes[9] == "truck" and cifar.notes == ()      # no copies


@real
def test_cifar10_channel_means_are_the_known_ones(cifar):
    pool = join(cifar.train, cifar.validation)                          # the official training images
    means = torch.stack([pool.images[:, c].double().mean() / 255 for c in range(3)])
    known = torch.tensor([0.4914, 0.4822, 0.4465], dtype=torch.float64)
    torch.testing.assert_close(means, known, atol=1e-3, rtol=0)


@real
def test_one_flipped_byte_of_cifar10_is_refused(tmp_path):
    shutil.copytree(places.default_data_dir() / CIFAR.base_folder, tmp_path / CIFAR.base_folder)
    flip(tmp_path / CIFAR.base_folder / "test_batch")
    with pytest.raises(InputError, match=r"is damaged or incomplete \(test_batch\)"):
        data.load("cifar10", data_dir=str(tmp_path))
