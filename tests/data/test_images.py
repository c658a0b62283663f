import pytest
import torch

from lib import InputError, data
from lib.data.images import Images, fingerprint, join, resize, select, to_float, to_uint8


def some_images(n=6, channels=1, side=8, classes=("a", "b")):
    g = torch.Generator().manual_seed(n)
    return Images(torch.randint(0, 256, (n, channels, side, side), generator=g, dtype=torch.uint8),
                       torch.arange(n) % len(classes), classes)



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


def test_resizing_keeps_a_flat_image_flat():
    flat = torch.full((2, 1, 32, 32), 77, dtype=torch.uint8)
    assert all(torch.equal(resize(flat, size), torch.full((2, 1, size, size), 77).byte()) for size in (8, 12, 33, 64))


def test_images_resized_together_are_those_resized_alone():
    images = some_images(5, channels=3, side=1100).images                   # more than one part in memory
    assert torch.equal(resize(images, 24), torch.cat([resize(image[None], 24) for image in images]))


def test_resizing_keeps_the_square_in_the_middle():
    wide = torch.cat([torch.zeros(1, 1, 8, 4), torch.full((1, 1, 8, 8), 200), torch.zeros(1, 1, 8, 4)], 3).byte()
    assert bool((resize(wide, 8) == 200).all())


def test_one_changed_pixel_or_label_of_any_part_changes_the_fingerprint():
    split = data.load("digits", per_class=2)
    prints = [fingerprint(split)]
    for part in (split.train, split.validation, split.test):
        part.images[-1, 0, 4, 4] ^= 1
        prints.append(fingerprint(split))
        part.labels[-1] ^= 1
        prints.append(fingerprint(split))
    assert len(set(prints)) == 7
