import numpy as np
import pytest
import torch

from lib import InputError, data
from lib.data.copies import first_equal
from lib.data.digits import _place, _plain_digits, digit_oracle
from lib.data.images import fingerprint, select


def positions(split):
    """Index in the whole data set of each train, validation and test image of plain digits (all 1,797 differ)."""
    where = {bytes(x.numpy()): k for k, x in enumerate(_plain_digits().images)}
    return [[where[bytes(x.numpy())] for x in part.images] for part in (split.train, split.validation, split.test)]


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


def test_no_digit_is_a_copy_of_another():
    assert first_equal(_plain_digits().images).tolist() == list(range(1797))
