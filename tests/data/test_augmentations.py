import pytest
import torch

from lib import InputError
from lib.data.augmentations import AUGMENTATIONS, augmentation, flip, noise, shift


def images(n=200, size=8):
    return torch.rand(2, n, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def g(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_generator_makes_the_same_batch_and_another_another(name):
    x, change = images(), augmentation(name)
    assert change(x, g()).shape == x.shape
    assert torch.equal(change(x, g()), change(x, g())) and not torch.equal(change(x, g(2)), change(x, g()))


def test_half_of_the_images_are_mirrored_and_the_others_untouched():
    x = images()
    same, mirrored = (flip(x, g()) == x).flatten(2).all(-1), (flip(x, g()) == x.flip(-1)).flatten(2).all(-1)
    assert (same ^ mirrored).all() and mirrored.float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_a_shifted_image_is_a_window_of_the_padded_one_and_every_place_comes():
    x = images(size=16)                                                  # up to 2 pixels: 25 places
    moved, seen = shift(x, g()), set()
    padded = torch.nn.functional.pad(x, [2] * 4, value=-1.0)
    for one, whole in zip(moved.flatten(0, 1), padded.flatten(0, 1), strict=True):
        places = [(i, j) for i in range(5) for j in range(5) if torch.equal(one, whole[:, i:i + 16, j:j + 16])]
        assert len(places) == 1
        seen |= set(places)
    assert len(seen) == 25


def test_noise_has_its_deviation_and_no_mean():
    added = noise(images(2000), g()) - images(2000)
    assert added.std().item() == pytest.approx(0.1, rel=0.02) and abs(added.mean().item()) < 1e-3


def test_an_unknown_name_lists_the_accepted_ones():
    with pytest.raises(InputError, match="augmentation='mirror': expected one of 'flip', 'shift'"):
        augmentation("mirror")
