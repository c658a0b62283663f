"""Synthetic images from elsewhere: what is read, as the real ones are, and what is refused."""
import re

import numpy as np
import pytest
import torch
from PIL import Image

from lib import InputError
from lib.data.external import chosen, external

CLASSES = ("cat", "dog", "ship")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def picture(path, mode="RGB", side=20, colour=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (side, side), colour).save(path)


@pytest.fixture
def made(tmp_path):
    """Three red cats of 20x20 pixels and one ship, beside a note."""
    for k in range(3):
        picture(tmp_path / "made" / "cat" / f"{k}.png", colour=(200, 10 * k, 0))
    picture(tmp_path / "made" / "ship" / "a.png", side=40, colour=(0, 0, 200))
    (tmp_path / "made" / "note.txt").touch()
    return tmp_path / "made"


def arrays(path, **named):
    np.savez(path, **named)
    return str(path)


def read(place, shape=(3, 10, 10), classes=CLASSES):
    return external(str(place), image_shape=shape, classes=classes)


def refused(place, message, **options):
    with pytest.raises(InputError, match=message) as error:
        read(place, **options)
    return str(error.value)


def test_pictures_come_in_the_size_and_the_classes_of_the_real_ones(made):
    images, names, notes = read(made)
    assert images.images.shape == (4, 3, 10, 10) and images.labels.tolist() == [0, 0, 0, 2] and images.classes == CLASSES
    assert names == ["cat/0.png", "cat/1.png", "cat/2.png", "ship/a.png"]
    assert images.images[:, :, 0, 0].tolist() == [[200, 0, 0], [200, 10, 0], [200, 20, 0], [0, 0, 200]]
    assert len(notes) == 1 and "1." in notes[0]


def test_colours_become_those_of_the_real_images_and_a_note_says_so(made, tmp_path):
    grey = read(made, shape=(1, 10, 10))
    assert grey.images.images[0, 0, 0, 0] == Image.new("RGB", (1, 1), (200, 0, 0)).convert("L").getpixel((0, 0))
    assert any("grey" in note for note in grey.notes)
    picture(tmp_path / "grey" / "cat" / "a.png", mode="L", colour=90)
    assert read(tmp_path / "grey").images.images[0, :, 0, 0].tolist() == [90, 90, 90]


@pytest.mark.parametrize("names", [("images", "labels"), ("arr_0", "arr_1")])
@pytest.mark.parametrize("last", [False, True])
def test_an_npz_holds_channels_first_or_last_and_labels_as_numbers_or_names(tmp_path, names, last):
    values = np.random.default_rng(0).integers(0, 256, (5, 3, 10, 10), dtype=np.uint8)
    stored = values.transpose(0, 2, 3, 1) if last else values
    for labels in (np.array([2, 0, 0, 1, 2]), np.array(["ship", "cat", "cat", "dog", "ship"])):
        file = arrays(tmp_path / "made.npz", **dict(zip(names, (stored, labels), strict=True)))
        images = read(file).images
        assert np.array_equal(images.images.numpy(), values) and images.labels.tolist() == [2, 0, 0, 1, 2]


def test_what_dream_and_a_run_write_can_be_read(tmp_path):
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    file = arrays(tmp_path / "dream.npz", images=images, labels=torch.tensor([0, 1, 1, 2]), scores=np.ones(4))
    assert read(file, shape=(1, 8, 8)).images.labels.tolist() == [0, 1, 1, 2]


def test_some_of_each_class_are_taken_by_chance(tmp_path):
    values = np.arange(90, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8)
    made = read(arrays(tmp_path / "made.npz", images=values, labels=np.repeat([0, 1], [80, 10])), shape=(1, 8, 8))
    every, few = chosen(made, 0, [], 0), chosen(made, 20, [], 0)
    assert every[0] is made.images and np.bincount(few[0].labels).tolist() == [20, 10]
    assert [f"image {i}" for i in few[0].images[:, 0, 0, 0].tolist()] == few[1]
    assert few[1] == chosen(made, 20, [], 0)[1] != chosen(made, 20, [], 1)[1]
    assert np.bincount(chosen(made, {"fill": 30}, [25, 10, 3], 0)[0].labels).tolist() == [5, 10]


@pytest.mark.parametrize("named, message", [
    ({"x": np.zeros(3)}, "it holds x: expected the arrays images and labels"),
    ({"images": np.zeros((2, 3, 8, 8)), "labels": np.zeros(2, int)}, r"images are float64 of shape \(2, 3, 8, 8\): expected uint8"),
    ({"images": np.zeros((2, 8, 8), np.uint8), "labels": np.zeros(2, int)}, r"shape \(2, 8, 8\)"),
    ({"images": np.zeros((2, 3, 8, 8), np.uint8), "labels": np.zeros(3, int)}, r"labels have the shape \(3,\): expected \(2,\)"),
    ({"images": np.zeros((2, 3, 8, 8), np.uint8), "labels": np.array([0, 3])}, "labels are int64 from 0 to 3: expected whole numbers from 0 to 2"),
    ({"images": np.zeros((2, 3, 8, 8), np.uint8), "labels": np.array(["cat", "fish"])}, "labels: 'fish': expected the names"),
    ({"images": np.zeros((2, 3, 8, 8), np.uint8), "labels": np.zeros(2)}, "labels are float64"),
    ({"images": np.zeros((0, 3, 8, 8), np.uint8), "labels": np.zeros(0, int)}, "it has none"),
    ({"images": np.array([{}]), "labels": np.zeros(1, int)}, "without pickles"),
])
def test_an_npz_of_something_else_is_refused(tmp_path, named, message):
    refused(arrays(tmp_path / "made.npz", **named), message)


def test_a_folder_of_something_else_is_refused_with_all_that_is_wrong(made, tmp_path):
    assert re.search("expected a folder of class folders", refused(tmp_path / "nothing", "synthetic_dir"))
    picture(made / "fish" / "a.png")
    picture(made / "cat" / "glass.png", mode="RGBA", colour=(0, 0, 0, 9))
    lines = refused(made, "'fish': expected the names of the real images' classes").splitlines()
    assert len(lines) == 2 and "glass.png" in lines[1]


def test_real_images_that_are_not_square_need_synthetic_ones_of_their_shape(tmp_path):
    file = arrays(tmp_path / "made.npz", images=np.zeros((2, 3, 8, 8), np.uint8), labels=np.zeros(2, int))
    refused(file, "its images are 8x8, the real ones 12x8: expected the same shape", shape=(3, 8, 12))
    assert len(read(file, shape=(3, 16, 16)).images) == 2
