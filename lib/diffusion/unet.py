"""The class-conditional U-Net: Ho et al. 2020, appendix B, with scale-shift conditioning (Dhariwal & Nichol 2021).

Works for any image size: a level of odd size n goes down to (n+1)//2 and up to n again, and 1x1 stays 1x1, so that
the original paper's six-level multiplier [1,1,2,2,4,4] runs on 32x32 (32, 16, 8, 4, 2, 1) and on 12x12.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

from lib import InputError
from lib.diffusion import PATCHES, known


def norm(channels):
    """Group normalisation with 32 groups, or the next smaller number that divides and leaves 4 channels in each."""
    return nn.GroupNorm(next(g for g in range(min(32, channels // 4), 0, -1) if channels % g == 0), channels)


def zero(module):
    """Start at zero: the block is the identity and the network predicts 0, so training begins at loss 1."""
    for p in module.parameters():
        nn.init.zeros_(p)
    return module


class ResBlock(nn.Module):
    """norm, SiLU, conv; norm scaled and shifted by the embedding; SiLU, dropout, conv; plus the input."""

    def __init__(self, c_in, c_out, c_emb, dropout):
        super().__init__()
        self.norm1, self.conv1 = norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.emb = nn.Linear(c_emb, 2 * c_out)
        self.norm2, self.conv2 = norm(c_out), zero(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x, emb):                                            # (B, c_in, H, W), (B, c_emb)
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.emb(emb)[:, :, None, None].chunk(2, 1)
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(self.dropout(F.silu(h)))         # (B, c_out, H, W)


class Attention(nn.Module):
    """Self-attention over all pixels, heads of 64 channels where they divide."""

    def __init__(self, channels):
        super().__init__()
        self.heads = channels // 64 if channels % 64 == 0 else 1
        self.norm, self.qkv = norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x, emb=None):
        B, C, H, W = x.shape
        qkv = self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(B, H * W, 3, self.heads, C // self.heads)
        h = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))   # (B, heads, HW, C/heads)
        return x + self.out(h.transpose(1, 2).reshape(B, H, W, C).permute(0, 3, 1, 2))


class Level(nn.Module):
    """One residual block, then attention where the resolution asks for it."""

    def __init__(self, c_in, c_out, c_emb, dropout, attention):
        super().__init__()
        self.block = ResBlock(c_in, c_out, c_emb, dropout)
        self.attention = Attention(c_out) if attention else None

    def forward(self, x, emb):
        h = self.block(x, emb)
        return self.attention(h) if self.attention is not None else h


class UNet(nn.Module):
    """Answers with the target (eps, x0 or v) of x_t: forward(x, t, y) -> (B, image_channels, H, W), like x.

    image_channels   1 or 3;  image_size (h, w) or one number, 8..128: decides where attention stands
    num_classes      labels y are 0..num_classes-1; y = num_classes is the null label of classifier-free guidance
    channels         width of the first level; level i has channels * channel_mult[i]
    attn_resolutions sizes of levels that get attention, such as [16]; the middle gets it when the list is not empty
    patch            1, 2 or 4: the network works on squares of patch x patch pixels, which become the channels of one
                     place (pixel unshuffle, and back behind the last convolution: Shi et al. 2016, arXiv 1609.05158);
                     at 2 a layer costs a quarter. Levels are counted on the patched grid: with patch 2, a 32x32 image's
                     first level has size 16. InputError unless it divides both sides of the image.
    """

    def __init__(self, *, image_channels, image_size, num_classes, channels=64, channel_mult=(1, 2, 2, 2),
                 num_res_blocks=2, attn_resolutions=(16,), dropout=0.0, patch=1):
        super().__init__()
        if channels % 8:
            raise InputError(f"channels={channels}: expected a multiple of 8 (group normalisation)")
        sides = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
        if any(side % known("patch", patch, PATCHES) for side in sides):
            raise InputError(f"patch={patch}: expected a divisor of the image's sides, {' x '.join(map(str, sides))}")
        size = sides[0] if sides[0] == sides[1] else list(sides)
        self.options = {"image_channels": image_channels, "image_size": size, "num_classes": num_classes,
                        "channels": channels, "channel_mult": list(channel_mult), "num_res_blocks": num_res_blocks,
                        "attn_resolutions": list(attn_resolutions), "dropout": dropout, "patch": patch}
        self.patch, self.num_classes, c_emb = patch, num_classes, 4 * channels
        frequencies = torch.exp(-math.log(10000) * torch.arange(channels // 2) / (channels // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.time = nn.Sequential(nn.Linear(channels, c_emb), nn.SiLU(), nn.Linear(c_emb, c_emb))
        self.label = nn.Embedding(num_classes + 1, c_emb)
        self.first = nn.Conv2d(image_channels * patch**2, channels, 3, padding=1)

        resolution, c, widths = max(sides) // patch, channels, []
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        skips = [c]
        for i, mult in enumerate(channel_mult):
            levels = nn.ModuleList()
            for _ in range(num_res_blocks):
                levels.append(Level(c, channels * mult, c_emb, dropout, resolution in attn_resolutions))
                c = channels * mult
                skips.append(c)
            self.down.append(levels)
            widths.append(resolution)
            if i < len(channel_mult) - 1:
                self.shrink.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                skips.append(c)
                resolution = (resolution + 1) // 2

        self.middle = nn.ModuleList([ResBlock(c, c, c_emb, dropout), ResBlock(c, c, c_emb, dropout)])
        self.middle_attention = Attention(c) if len(attn_resolutions) else nn.Identity()

        for i, mult in reversed(list(enumerate(channel_mult))):
            levels = nn.ModuleList()
            for _ in range(num_res_blocks + 1):
                levels.append(Level(c + skips.pop(), channels * mult, c_emb, dropout, widths[i] in attn_resolutions))
                c = channels * mult
            self.up.append(levels)
            if i:
                self.grow.append(nn.Conv2d(c, c, 3, padding=1))
        self.last_norm = norm(c)
        self.last = zero(nn.Conv2d(c, image_channels * patch**2, 3, padding=1))

    @property
    def image_shape(self):
        """(C, H, W) of the images that it learns from."""
        size = self.options["image_size"]
        return (self.options["image_channels"], *(size if isinstance(size, list) else (size, size)))

    def embed(self, t, y):
        """Sinusoidal time embedding (Ho et al. 2020, appendix B) plus label embedding. (B, 4 * channels)"""
        angles = t.float()[:, None] * self.frequencies
        return F.silu(self.time(torch.cat([angles.cos(), angles.sin()], 1)) + self.label(y))

    def forward(self, x, t, y):
        emb = self.embed(t, y)
        h = self.first(F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x)
        skips = [h]
        for i, levels in enumerate(self.down):
            for level in levels:
                h = level(h, emb)
                skips.append(h)
            if i < len(self.shrink):
                h = self.shrink[i](h)
                skips.append(h)
        h = self.middle[1](self.middle_attention(self.middle[0](h, emb)), emb)
        for i, levels in enumerate(self.up):
            for level in levels:
                h = level(torch.cat([h, skips.pop()], 1), emb)
            if i < len(self.grow):
                h = self.grow[i](F.interpolate(h, size=skips[-1].shape[-2:], mode="nearest"))
        h = self.last(F.silu(self.last_norm(h)))
        return F.pixel_shuffle(h, self.patch) if self.patch > 1 else h


def count_parameters(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
