from types import SimpleNamespace

import pytest

from lib import InputError, data
from lib.data.images import fingerprint


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
    assert data.check(config) == {"dataset": "digits", "classes": 10, "train": 30, "validation": len(split.validation), "test": 898,
                                  "shape": [1, 12, 12], "sha256": fingerprint(split), "notes": []}


def test_another_split_than_the_networks_is_refused():
    split = data.load("digits", per_class=2)
    assert data.same_split(split, fingerprint(split)) is split
    with pytest.raises(InputError, match=r"the data have changed since run a learned .*: make its training again"):
        data.same_split(data.load("digits", per_class=2, seed=1), fingerprint(split), what="run a")


@pytest.mark.parametrize("settings, description", [
    ({"dataset": "digits", "canvas": 12, "size": 0}, "digits on a 12x12 canvas"),
    ({"dataset": "digits", "canvas": 0, "size": 0}, "plain 8x8 digits"),
    ({"dataset": "cifar10", "canvas": 0, "size": 16}, "CIFAR-10 at 16x16 pixels"),
])
def test_a_data_set_is_described_with_its_canvas_or_its_size(settings, description):
    assert data.describe(settings) == description
