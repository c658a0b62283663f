"""Rightness and nearness of synthetic images: label agreement of a class, distance to the nearest image."""
import numpy as np
import pytest

from lib.study import quality


def test_agreement_is_counted_within_each_class():
    assert quality.class_agreement([0, 1, 1, 1], [0, 0, 1, 1], 2).tolist() == [50.0, 100.0]


def test_a_copy_has_distance_0_and_names_its_original():
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    distance, index = quality.nearest_distance(reference[[7, 3]], reference)
    assert distance.max() < 0.05 and index.tolist() == [7, 3]        # float32 dot products of 192 squares
    brighter = np.clip(reference[[7]].astype(int) // 2 + 60, 0, 255).astype(np.uint8)
    expected = np.sqrt(((brighter[0].astype(float) - reference.astype(float)) ** 2).mean((1, 2, 3))).min()
    assert quality.nearest_distance(brighter, reference)[0][0] == pytest.approx(expected, rel=1e-4)
