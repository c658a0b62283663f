import pytest
import torch

from lib import InputError
from lib.data.augmentations import AUGMENTATIONS, MIXTURES, augmentation, flip, joined, noise, randaugment, shift


def images(n=200, size=8):
    return torch.rand(2, n, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def g(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_generator_makes_the_same_batch_and_another_another(name):
    x, (change, _) = images(20), augmentation(name)
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


def test_augmentations_are_joined_each_once_and_applied_in_order():
    assert joined("", "flip", "flip and shift", "randaugment") == "flip and shift and randaugment" and joined("", "") == ""
    x, (change, mixture) = images(), augmentation("flip and shift")
    generator = g()
    assert torch.equal(change(x, g()), shift(flip(x, generator), generator)) and mixture is None


@pytest.mark.parametrize("channels", [1, 3])
def test_randaugment_changes_images_each_in_another_way_and_leaves_torchs_chance_alone(channels):
    x, before = images(30)[:, :, :channels], torch.get_rng_state()
    x = (x * 127.5).round() / 127.5
    changed = randaugment(x[:, :1].expand_as(x), g())
    assert torch.equal(torch.get_rng_state(), before)
    assert changed.shape == x.shape and changed.min() >= -1 and changed.max() <= 1
    assert len(changed[0].flatten(1).unique(dim=0)) > 10


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_gives_each_image_the_labels_of_what_it_shows(name):
    y = torch.arange(40) % 2
    x = (2.0 * y - 1).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)                  # class 1 is white, class 0 black
    change, mixture = augmentation(f"flip and {name}")
    mixed, labels = mixture(x, y, 2, g())
    assert change is not None and labels.shape == (40, 2) and torch.allclose(labels.sum(1), torch.ones(40))
    torch.testing.assert_close((mixed.mean((1, 2, 3)) + 1) / 2, labels[:, 1], rtol=0, atol=1e-5)
    assert torch.equal(mixture(x, y, 2, g())[0], mixed)


def test_two_mixtures_and_an_unknown_augmentation_are_refused():
    with pytest.raises(InputError, match="^augmentation='mixup and cutmix': expected at most one"):
        augmentation("mixup and cutmix")
    with pytest.raises(InputError, match="^augmentation='flip and turn': expected one of 'flip'"):
        augmentation("flip and turn")
