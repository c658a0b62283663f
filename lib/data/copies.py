"""Copies: the same picture twice. In two parts of a split they would test a network on what it learned by heart."""
import numpy as np
import torch
from scipy.spatial import cKDTree

COPY = 1.0      # rms distance, grey levels of 0..255: two images at most this far apart are the same picture


def first_equal(images):
    """For each of images (N, C, H, W) uint8 the position of the first one with the same pixels. (N,) int64"""
    first = {}
    return np.array([first.setdefault(image.tobytes(), i) for i, image in enumerate(images.numpy())], np.int64)


def near(images, others):
    """For each of `images` the position of the closest of the `others` at most COPY from it, or -1. (N,) int64"""
    candidates = _candidates(_block_means(images), _block_means(others))
    return np.array([_closest(image, others, positions)
                     for image, positions in zip(images, candidates, strict=True)], np.int64)


def first_near(images):
    """For each image the position of the picture that it is a copy of: its own, unless an earlier one that is no copy
    itself is at most COPY away. (N,) int64"""
    first = first_equal(images)
    different = np.flatnonzero(first == np.arange(len(first)))
    means = _block_means(images[different])
    for i, positions in zip(different, _candidates(means, means), strict=True):
        earlier = different[positions]
        closest = _closest(images[i], images, earlier[(earlier < i) & (first[earlier] == earlier)])
        if closest >= 0:
            first[i] = closest
    return first[first]         # what equals a near copy is one too


def _candidates(means, others):
    """For each image the positions of those that can be at most COPY away: the weighted rms distance of block means is
    never more than that of the pixels (Jensen), so only pairs whose means are that close need be compared by pixels."""
    tree = cKDTree(others)
    for start in range(0, len(means), 500):
        for positions in tree.query_ball_point(means[start:start + 500], COPY * (1 + 1e-9)):   # rounding loses no pair
            yield np.array(positions, np.int64)


def _closest(image, others, positions):
    """The position, of those given, of the closest to `image` if it is at most COPY away, else -1."""
    squares = [(image.double() - part.double()).square().flatten(1).mean(1)
               for part in others[positions].split(1000) if len(part)]
    if not squares:
        return -1
    square, k = torch.cat(squares).min(0)
    return positions[int(k)] if square <= COPY**2 else -1


def _block_means(images, blocks=4):
    """Means of blocks x blocks parts of each channel, times the root of the part's share of the pixels. (N, D)"""
    x = images.cpu().numpy()
    pixels = np.ones(x.shape[1:])[None]
    for axis in (2, 3):
        starts = np.linspace(0, x.shape[axis], blocks, endpoint=False).astype(int)
        x, pixels = (np.add.reduceat(part, starts, axis, dtype=np.float64) for part in (x, pixels))
    return (x / np.sqrt(pixels * images[0].numel())).reshape(len(images), -1)
