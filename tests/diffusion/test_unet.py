import pytest
import torch
import torch.nn.functional as F

from lib import InputError
from lib.diffusion.unet import UNet, count_parameters, norm


def small(size, channels=1, mult=(1, 2), **more):
    return UNet(image_channels=channels, image_size=size, num_classes=10, channels=16, channel_mult=mult,
                num_res_blocks=1, **more)


@pytest.mark.parametrize("mult", [[1, 2], [1, 1, 2, 2, 4, 4]])
@pytest.mark.parametrize("size, channels", [(8, 1), (13, 3), (28, 1), (32, 3)])
def test_any_size_and_any_multiplier_gives_back_the_shape(size, channels, mult):
    net = small(size, channels, mult, attn_resolutions=[8])
    x = torch.randn(2, channels, size, size)
    assert net(x, torch.tensor([0, 999]), torch.tensor([0, 10])).shape == x.shape


def test_any_multiple_of_8_channels_can_be_normalised_with_4_channels_or_more_in_a_group():
    for channels in range(8, 1025, 8):
        x = torch.randn(1, channels, 2, 2)
        assert norm(channels)(x).shape == x.shape and channels // norm(channels).num_groups >= 4


def test_images_need_not_be_square():
    x = torch.randn(1, 3, 16, 24)
    assert small((16, 24), 3)(x, torch.tensor([3]), torch.tensor([1])).shape == x.shape


def test_an_untrained_network_predicts_no_noise():
    assert small(8)(torch.randn(2, 1, 8, 8), torch.tensor([1, 2]), torch.tensor([0, 1])).abs().max() == 0


def test_time_label_and_every_weight_take_part():
    torch.manual_seed(0)
    net = small(8, attn_resolutions=[4])
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    x = torch.randn(1, 1, 8, 8)
    base = net(x, torch.tensor([5]), torch.tensor([1]))
    assert not torch.allclose(base, net(x, torch.tensor([6]), torch.tensor([1])))
    assert not torch.allclose(base, net(x, torch.tensor([5]), torch.tensor([10])))
    base.square().sum().backward()
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert still == []


def test_the_original_papers_multipliers_differ_threefold_in_size():
    millions = [
        count_parameters(UNet(image_channels=3, image_size=32, num_classes=10, channels=128, channel_mult=m)) / 1e6
        for m in ([1, 2, 2, 2], [1, 2, 3, 4], [1, 1, 2, 2, 4, 4])]
    # Ho et al.'s 35.7 million for [1,2,2,2], plus the scale half of scale-shift conditioning
    assert 35.7 < millions[0] < 39
    assert millions[1] / millions[0] > 2 and millions[2] / millions[0] > 2.8


def test_channels_that_group_norm_cannot_divide_are_refused():
    with pytest.raises(InputError, match="channels=20: expected a multiple of 8"):
        UNet(image_channels=1, image_size=8, num_classes=2, channels=20)


@pytest.mark.parametrize("patch", [2, 4])
def test_a_network_on_patches_is_the_plain_network_on_the_unshuffled_image(patch):
    options = {"num_classes": 10, "channels": 16, "channel_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": [4]}
    net = UNet(image_channels=3, image_size=(16, 24), patch=patch, **options)
    plain = UNet(image_channels=3 * patch**2, image_size=(16 // patch, 24 // patch), **options)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    plain.load_state_dict(net.state_dict())                     # so attention stands on the patched grid too
    x, t, y = torch.randn(2, 3, 16, 24), torch.tensor([5, 900]), torch.tensor([0, 10])
    small = x.unflatten(2, (-1, patch)).unflatten(4, (-1, patch)).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
    answer = net(x, t, y)
    assert answer.shape == x.shape and torch.equal(F.pixel_unshuffle(answer, patch), plain(small, t, y))


@pytest.mark.parametrize("patch", [2, 4])
def test_an_untrained_network_on_patches_predicts_no_noise(patch):
    assert small(8, patch=patch)(torch.randn(2, 1, 8, 8), torch.tensor([1, 2]), torch.tensor([0, 1])).abs().max() == 0


@pytest.mark.parametrize("size, patch, words", [
    (10, 4, "patch=4: expected a divisor of the image's sides, 10 x 10"),
    ((16, 10), 4, "patch=4: expected a divisor of the image's sides, 16 x 10"),
    (16, 3, "patch=3: expected one of 1, 2, 4")])
def test_a_patch_that_does_not_fit_is_refused(size, patch, words):
    with pytest.raises(InputError, match=words):
        small(size, patch=patch)
