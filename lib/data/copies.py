"""Copies: the same picture twice. In two parts of a split they would test a network on what it learned by heart."""
import numpy as np
from scipy.spatial import cKDTree

COPY = 1.0      # rms distance, grey levels of 0..255: two images at most this far apart are the same picture


def first_equal(images):
    """For each of images (N, C, H, W) uint8 the position of the first one with the same pixels. (N,) int64"""
    first = {}
    return np.array([first.setdefault(image.tobytes(), i) for i, image in enumerate(images.numpy())], np.int64)


def near(images, others):
    """For each of `images` the positions of the `others` at most COPY from it, closest first: N int64 arrays.

    Exact: the weighted rms distance of block means is never more than that of the pixels (Jensen), so only pairs whose
    means are that close are compared pixel by pixel.
    """
    candidates = cKDTree(_block_means(others)).query_ball_point(_block_means(images), COPY * (1 + 1e-9))    # rounding
    found = []
    for image, positions in zip(images, candidates, strict=True):
        positions = np.array(positions, np.int64)
        if len(positions):
            distance = (image.double() - others[positions].double()).square().flatten(1).mean(1).sqrt().numpy()
            positions = positions[np.argsort(distance, kind="stable")][:(distance <= COPY).sum()]
        found.append(positions)
    return found


def first_near(images):
    """For each image the position of the first picture that it is a copy of: its own, unless an earlier one that is no
    copy itself is at most COPY away. (N,) int64"""
    first = first_equal(images)
    different = np.flatnonzero(first == np.arange(len(first)))
    for i, positions in zip(different, near(images[different], images[different]), strict=True):
        earlier = different[positions]
        earlier = earlier[(earlier < i) & (first[earlier] == earlier)]
        if len(earlier):
            first[i] = earlier[0]
    return first[first]         # what equals a near copy is one too


def _block_means(images, blocks=4):
    """Means of blocks x blocks parts of each channel, times the root of the part's share of the pixels. (N, D)"""
    x = images.cpu().numpy()
    pixels = np.ones(x.shape[1:])[None]
    for axis in (2, 3):
        starts = np.linspace(0, x.shape[axis], blocks, endpoint=False).astype(int)
        x, pixels = (np.add.reduceat(part, starts, axis, dtype=np.float64) for part in (x, pixels))
    return (x / np.sqrt(pixels * images[0].numel())).reshape(len(images), -1)
