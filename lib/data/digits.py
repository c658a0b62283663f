"""scikit-learn's handwritten digits, plain or at random places of a canvas, and a judge that knows them all."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from lib import InputError
from lib.data.images import Images, Split, hold_out, select

DIGIT = 8                   # side of scikit-learn's digits, pixels


def digits(*, canvas, per_class, seed):
    """scikit-learn's 1,797 handwritten digits, 8x8 grey, grey values 0..16 scaled to 0..255; half of them are the test.

    canvas=0 or 8: as they are. canvas=9..32: each stands on a black canvas at a place that `seed` fixes. The split
    depends on `seed` alone: test holds 898 images, validation a fifth of each class of the other 899, and train the
    first `per_class` of each class of the rest (0: all).
    """
    random = np.random.RandomState(seed)
    order = random.permutation(len(plain := _plain_digits()))
    placed = Images(_place(plain.images, canvas or DIGIT, random), plain.labels, plain.classes)
    half = len(order) // 2
    train, validation = hold_out(placed, order[half:], 0.2, per_class)
    return Split(select(placed, train), select(placed, validation), select(placed, order[:half]), test_ids=order[:half])


def _plain_digits():
    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * 255 / 16).astype(np.uint8))
    return Images(images[:, None], torch.from_numpy(bunch.target.astype(np.int64)), tuple("0123456789"))


def _place(images, canvas, random):
    placed = torch.zeros(len(images), 1, canvas, canvas, dtype=torch.uint8)
    for image, out, (i, j) in zip(images, placed, random.randint(0, canvas - DIGIT + 1, (len(images), 2)), strict=True):
        out[:, i:i + DIGIT, j:j + DIGIT] = image
    return placed


def digit_oracle(canvas, known=None):
    """A judge that knows where digits may stand: the label of the nearest real digit (L2) at the nearest place.

    Returns a function from images (N, 1, canvas, canvas) uint8 to labels (N,) int64; canvas=0 or 8 is the plain digits.
    known: Images of plain 8x8 digits, by default all 1,797. A digit placed at p is at squared distance
    |x|^2 - 2 <window of x at p, digit> + |digit|^2, so no placed copy is stored. Every sum is a whole number under
    2^24, so float32 is exact. The judge raises InputError for images of another shape.
    """
    canvas, known = canvas or DIGIT, known or _plain_digits()
    pixels = known.images.flatten(1).float()
    chunk = max(1, 2**24 // (len(known) * (canvas - DIGIT + 1) ** 2))     # 64 MB of distances at a time

    def judge(images):
        if images.dtype != torch.uint8 or images.shape[1:] != (1, canvas, canvas):
            raise InputError(f"images are {images.dtype} of shape {tuple(images.shape)}: "
                             f"expected torch.uint8 (N, 1, {canvas}, {canvas})")
        nearest = []
        for part in images.cpu().float().split(chunk):
            overlap = (pixels @ F.unfold(part, DIGIT)).amax(2)              # (N, known): at the best place
            nearest.append((2 * overlap - pixels.square().sum(1)).argmax(1))
        return known.labels[torch.cat(nearest)]
    return judge
