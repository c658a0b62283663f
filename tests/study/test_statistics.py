"""Tests of the tests: on simulated nulls they reject at their level, and a planted difference is found."""
import numpy as np
import pytest
from scipy import stats

from lib.study import statistics as sig


def coins(rng, share, *shape):
    return rng.random(shape) < share


def arms(rng, n=1000, seeds=5, a=0.7, b=0.7, shared=0.8):
    """Two arms whose images have their own difficulty: `shared` of all outcomes are the image's, the rest chance."""
    image = rng.random(n)
    return [np.where(coins(rng, shared, seeds, n), image < share, coins(rng, share, seeds, n)) for share in (a, b)]


def test_mcnemar_is_the_binomial_test_of_the_discordant_images():
    a = np.array([[1, 1, 1, 1, 1, 1, 1, 0, 0, 1]], bool)
    b = np.array([[0, 0, 0, 0, 0, 0, 1, 1, 0, 1]], bool)
    p, discordant = sig.mcnemar(a, b)
    assert p[0] == pytest.approx(stats.binomtest(6, 7).pvalue) and discordant[0] == 70
    assert sig.mcnemar(a, a)[0][0] == 1


def test_on_nulls_the_paired_test_rejects_at_most_as_often_as_it_says():
    rng = np.random.default_rng(0)
    p = [sig.combined(sig.mcnemar(*arms(rng, n=300))[0]) for _ in range(600)]
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5
    one = [sig.mcnemar(*arms(rng, n=300, seeds=1))[0][0] for _ in range(600)]
    assert 0.015 < np.mean(np.array(one) < 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5    # exact: a little under


def test_on_nulls_cochrans_q_rejects_at_its_level():
    rng = np.random.default_rng(1)
    p = [sig.cochrans_q([coins(rng, 0.7, 1, 300) for _ in range(4)]) for _ in range(600)]
    # of one seed: twice the median is twice its p, so the level is half
    assert np.mean(np.array(p) < 0.10) == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / 600) ** 0.5)
    same = coins(rng, 0.7, 3, 50)
    assert sig.cochrans_q([same, same]) == 1


def test_a_planted_difference_is_found_by_all():
    rng = np.random.default_rng(2)
    a, b = arms(rng, n=2000, b=0.76)
    assert sig.combined(sig.mcnemar(a, b)[0]) < 1e-3 and sig.cochrans_q([a, b]) < 1e-3
    difference, low, high = sig.bootstrap_difference(a[None], b[None])
    assert low > 0 and low < difference < high and difference == pytest.approx(6, abs=2)


def test_holm_multiplies_the_smallest_by_their_number():
    assert sig.holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])       # 3 x, 1 x lifted, 2 x
    assert sig.holm([]).tolist() == []


def test_the_bootstrap_covers_the_truth_over_new_generators_seeds_and_images():
    """Truth 0; each generator shifts its arm by its own amount, so that an interval over images alone would be too narrow."""
    rng, hits, narrow = np.random.default_rng(3), 0, 0
    for _ in range(150):
        a, b = [], []
        for _ in range(8):
            x, y = arms(rng, n=400, seeds=2, b=0.7 + rng.normal(0, 0.03))
            a.append(x)
            b.append(y)
        _, low, high = sig.bootstrap_difference(np.stack(a), np.stack(b), draws=300)
        hits += low < 0 < high
        flat = np.concatenate(b).mean(0) - np.concatenate(a).mean(0)
        narrow += abs(flat.mean()) < 1.96 * flat.std() / 400**0.5
    assert hits / 150 == pytest.approx(0.93, abs=0.07)               # eight generators: a bootstrap is a little short
    assert hits >= narrow


def test_the_detectable_difference_is_what_simulation_finds():
    assert [round(sig.detectable_difference(d, 10_000), 2) for d in (10, 20, 30)] == [0.89, 1.25, 1.53]    # n = 10,000, three shares
    rng, d = np.random.default_rng(4), sig.detectable_difference(20, 1000) / 100
    only_b = rng.binomial(1000, 0.2, 2000)
    wins = rng.binomial(only_b, 0.5 + d / 0.4)
    found = [stats.binomtest(int(w), int(n)).pvalue < 0.05 for w, n in zip(wins, only_b, strict=True)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)            # the exact test is a little conservative


def test_a_planted_confusion_is_found_in_its_cell_and_a_null_is_not():
    rng, labels = np.random.default_rng(5), np.repeat(np.arange(4), 250)
    a = np.where(coins(rng, 0.8, 5, 1000), labels, rng.integers(4, size=(5, 1000)))
    null = np.where(coins(rng, 0.8, 5, 1000), labels, rng.integers(4, size=(5, 1000)))
    assert sig.changed_cells(a, null, labels, 4).min() > 0.05
    b = np.where((labels == 2) & coins(rng, 0.2, 5, 1000), 0, null)
    p = sig.changed_cells(a, b, labels, 4)
    assert p[2, 0] < 0.01 and p[2, 2] < 0.01
    assert np.delete(p.ravel(), [8, 10]).min() > 0.05


def test_a_measured_number_is_inside_four_standard_errors_or_marked():
    table = sig.side_by_side([("a", 1, 1.39, 0.1), ("b", 1, 1.41, 0.1), ("c", 0, -0.3, 0.1)])
    assert table["inside"].tolist() == ["yes", "NO", "yes"] and table["tolerance"].tolist() == pytest.approx([0.4] * 3)


def test_right_measurements_are_inside():
    rng = np.random.default_rng(0)
    means = rng.normal(2, 3, (500, 1000)).mean(1)
    assert (sig.side_by_side([("mean", 2, m, 3 / 1000**0.5) for m in means])["inside"] == "yes").all()
