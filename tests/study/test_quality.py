"""Tests of the measures: against closed forms and plain loops, silent on fresh real images, alarmed by planted copies."""
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import sqrtm

from lib import InputError
from lib.data import copies, load
from lib.data.images import Images, select
from lib.report.results import Memorisation
from lib.study import quality as q


def toy(n=60, seed=0):
    """Two classes of 9x9 images that differ in brightness."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = (torch.randint(0, 100, (n, 1, 9, 9), generator=g) + 150 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return Images(images, labels, ("dark", "bright"))


def judged_by(train, seed=7):
    return q.train_judge(train, widths=(4, 8), steps=20, batch=16, lr=1e-2, seed=seed)


def with_moments(rng, n, mean, cov):
    """n points whose sample mean and covariance are exactly these."""
    x = rng.normal(size=(n, len(mean)))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T)).T)
    return mean + x @ np.linalg.cholesky(cov).T


def pictures(rng, n, side=8, noise=40.0):
    """Smooth random pictures under grey noise, uint8."""
    coarse = rng.uniform(60, 195, (n, 1, side // 4, side // 4)).repeat(4, 2).repeat(4, 3)
    return torch.from_numpy(np.clip(coarse + rng.normal(0, noise, (n, 1, side, side)), 0, 255).astype(np.uint8))


def nudge(rng, images, sd):
    return (images.double() + torch.from_numpy(rng.normal(0, sd, images.shape))).round().clamp(0, 255).to(torch.uint8)


# ---------------------------------------------------------------- judge
def test_a_judge_is_a_function_of_its_images_and_seed_and_leaves_chance_alone():
    all_images = toy()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = judged_by(select(all_images, slice(40)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = judged_by(select(all_images, slice(40)))
    assert again.name == first.name and first.name.startswith("CNN 4-8, 20 steps on 40 real images, ")
    assert len(first.name.split(", ")[-1]) == 8
    assert judged_by(select(all_images, slice(40)), seed=8).name != first.name
    other = all_images.images.clone()
    other[40:] = 255 - other[40:]                                    # images that it is not given
    assert judged_by(select(Images(other, all_images.labels, all_images.classes), slice(40))).name == first.name
    other[3, 0, 4, 4] ^= 128                                         # one pixel of one that it is given
    assert judged_by(select(Images(other, all_images.labels, all_images.classes), slice(40))).name != first.name


def shared(tmp_path, monkeypatch, test, train=None, **changed):
    """The shared judge of a data set whose split 0 has these images, and how many trainings it took."""
    split, asked = SimpleNamespace(train=train or toy(), test=test), []
    monkeypatch.setattr(q, "load_for", lambda settings: asked.append(settings) or split)
    trainings, train_classifier = [], q.train_classifier
    monkeypatch.setattr(q, "train_classifier", lambda *a, **k: trainings.append(k) or train_classifier(*a, **k))
    settings = {"dataset": "cifar10", "per_class": 7, "data_seed": 3, "flip": True}
    judge = q.shared_judge(settings, toy(12, seed=4), **{"widths": [4, 4], "steps": 6, "folder": tmp_path, **changed})
    monkeypatch.setattr(q, "train_classifier", train_classifier)
    assert [(one["per_class"], one["data_seed"]) for one in asked] == [(0, 0)]
    return judge, len(trainings)


def test_one_judge_for_all_generators_is_trained_once_from_all_images(tmp_path, monkeypatch):
    test = toy(12, seed=4)
    first, trainings = shared(tmp_path, monkeypatch, test)
    again, more = shared(tmp_path, monkeypatch, test)
    assert (trainings, more) == (1, 0) and again.name == first.name and first.name.startswith("airbench 4-4, 6 steps on ")
    assert np.array_equal(again.features(test.images), first.features(test.images))
    assert first.features(test.images).shape == (12, 4) and first.probabilities(test.images).shape == (12, len(test.classes))
    for changed in ({"steps": 7}, {"widths": [4, 8]}, {"train": toy(40, seed=9)}):
        assert shared(tmp_path, monkeypatch, test, **changed)[1] == 1, changed


def test_generations_side_by_side_train_one_judge(tmp_path, monkeypatch):
    monkeypatch.setattr(q, "load_for", lambda settings: SimpleNamespace(train=toy(), test=toy(12, seed=4)))
    trainings, train_classifier = [], q.train_classifier
    monkeypatch.setattr(q, "train_classifier", lambda *a, **k: trainings.append(k) or train_classifier(*a, **k))
    options = {"widths": [4, 4], "steps": 40, "folder": tmp_path}
    with ThreadPoolExecutor() as pool:
        judges = list(pool.map(lambda _: q.shared_judge({"dataset": "cifar10"}, toy(12, seed=4), **options), range(3)))
    assert len(trainings) == 1 and len({judge.name for judge in judges}) == 1


def test_a_damaged_judge_is_trained_again(tmp_path, monkeypatch):
    first, _ = shared(tmp_path, monkeypatch, toy(12, seed=4))
    (file,) = tmp_path.glob("judge-*.safetensors")
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="the judge is trained again"):
        again, trainings = shared(tmp_path, monkeypatch, toy(12, seed=4))
    assert trainings == 1 and again.name == first.name


def test_no_judge_is_shared_where_it_would_have_learned_from_other_splits_tests(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="^judge='shared': each data_seed of 'cifar10' has test images of its own"):
        shared(tmp_path, monkeypatch, toy(12, seed=5))
    assert not list(tmp_path.iterdir())


def test_a_judge_is_frozen_and_each_image_has_features_of_its_own():
    judge, images = judged_by(toy()), toy(30, seed=3).images
    state = {k: v.clone() for k, v in judge.net.state_dict().items()}
    features = judge.features(images)
    assert features.shape == (30, 8) and features.dtype == np.float64
    np.testing.assert_array_equal(judge.features(images), features)
    np.testing.assert_allclose(judge.features(images[:3]), features[:3], atol=1e-5)     # float32, other batch size
    assert not judge.net.training and not any(p.requires_grad for p in judge.net.parameters())
    assert all(torch.equal(v, state[k]) for k, v in judge.net.state_dict().items())
    with pytest.raises(AttributeError):
        judge.name = "another"


def test_the_features_are_what_the_last_layer_turns_into_probabilities():
    judge, data = judged_by(toy()), toy(40, seed=3)
    logits = judge.features(data.images) @ judge.net[-1].weight.double().numpy().T + judge.net[-1].bias.double().numpy()
    p = judge.probabilities(data.images)
    np.testing.assert_allclose(p, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), atol=1e-5)
    assert (p.argmax(1) == data.labels.numpy()).mean() > 0.9         # a judge that has learned dark from bright


# ---------------------------------------------------------------- Frechet distance
def test_the_frechet_distance_of_commuting_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    a, b = np.array([1.0, 4, 9]), np.array([4.0, 4, 0.25])
    x, y = with_moments(rng, 50, np.zeros(3), np.diag(a)), with_moments(rng, 80, np.array([1.0, 2, 2]), np.diag(b))
    assert q.frechet_distance(x, y) == pytest.approx(9 + ((a**0.5 - b**0.5) ** 2).sum(), rel=1e-10)


def test_the_frechet_distance_is_the_formula_with_scipys_matrix_root():
    rng = np.random.default_rng(1)
    x, y = (rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6) for _ in range(2))
    a, b = np.cov(x.T), np.cov(y.T)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert q.frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert q.frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)


def test_equal_sets_are_at_distance_0_even_with_fewer_images_than_features():
    rng = np.random.default_rng(2)
    for n in (10, 100):
        x = 1e3 * rng.normal(size=(n, 32))
        assert q.frechet_distance(x, x[::-1]) < 1e-6                  # of traces of 3e7
        assert q.frechet_distance(x, x + 2) == pytest.approx(4 * 32, rel=1e-6)
    with pytest.raises(InputError, match="expected"):
        q.frechet_distance(x, x[:, :3])


def test_the_reference_falls_with_n_and_fresh_images_lie_on_it():
    rng = np.random.default_rng(3)
    real, fresh, shifted = rng.normal(size=(800, 10)), rng.normal(size=(300, 10)), rng.normal(0.3, 1, (300, 10))
    references = [q.frechet_reference(real, n)[0] for n in (50, 100, 200, 400)]
    assert all(low < 0.7 * high for high, low in zip(references, references[1:], strict=False))       # about 1 / n
    with pytest.raises(InputError, match="at most 400"):
        q.frechet_reference(real, 401)
    result = q.frechet_beside_reference(real, fresh, draws=10)
    assert result["n"] == 300 and abs(result["distance"] - result["reference"]) < 5 * result["reference_sd"]
    worse = q.frechet_beside_reference(real, shifted, draws=10)
    assert worse["distance"] - worse["reference"] == pytest.approx(10 * 0.3**2, abs=0.25)
    assert q.frechet_beside_reference(real[:100], fresh)["n"] == 50
    assert q.frechet_beside_reference(real, fresh, draws=10) == result


# ---------------------------------------------------------------- density and coverage
def by_loops(real, synthetic, k):
    radius = [sorted(np.linalg.norm(x - o) for j, o in enumerate(real) if j != i)[k - 1] for i, x in enumerate(real)]
    inside = [[np.linalg.norm(x - y) < r for y in synthetic] for x, r in zip(real, radius, strict=True)]
    return np.sum(inside) / (k * len(synthetic)), np.mean([any(row) for row in inside])


@pytest.mark.parametrize("n, m, k", [(30, 20, 5), (12, 40, 3)])
def test_density_and_coverage_are_their_definitions(n, m, k):
    rng = np.random.default_rng(n)
    real, synthetic = rng.normal(size=(n, 3)), rng.normal(0.5, 0.7, (m, 3))
    assert q.density_and_coverage(real, synthetic, k) == pytest.approx(by_loops(real, synthetic, k), abs=1e-12)


def test_density_and_coverage_of_points_on_a_line():
    real = np.array([[0.0], [1], [2], [10]])                          # radii for k=1: 1, 1, 1, 8
    assert q.density_and_coverage(real, np.array([[0.5]]), k=1) == (2, 0.5)                   # in the first two balls
    assert q.density_and_coverage(real, np.array([[0.5], [9.0]]), k=1) == (1.5, 0.75)
    assert q.density_and_coverage(real, np.array([[50.0]]), k=1) == (0, 0)
    with pytest.raises(InputError, match="more than k=4"):
        q.density_and_coverage(real, real, k=4)


def test_more_real_images_than_fit_a_block_are_all_counted():
    rng = np.random.default_rng(4)
    real = rng.normal(size=(2500, 2))
    real[:500] += 100
    assert q.density_and_coverage(real, real[:500])[1] == 500 / 2500
    assert q.density_and_coverage(real, real)[1] == 1


def test_a_perfect_generator_has_density_1_and_the_expected_coverage():
    rng = np.random.default_rng(5)
    for n, m, k in ((60, 60, 5), (60, 20, 3)):
        results = np.array([q.density_and_coverage(rng.normal(size=(n, 4)), rng.normal(size=(m, 4)), k) for _ in range(200)])
        error = results.std(0) / 200**0.5
        assert abs(results[:, 0].mean() - 1) < 4 * error[0]
        assert abs(results[:, 1].mean() - q.expected_coverage(n, m, k)) < 4 * error[1]


def test_coverage_sees_lost_modes_where_the_frechet_distance_sees_nothing():
    """Eight spots on a circle; every second one lost leaves mean and covariance as they were."""
    rng = np.random.default_rng(6)
    spots = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], 1)
    real, complete, lost = (spots[rng.choice(modes, 400)] + rng.normal(0, 0.05, (400, 2))
                            for modes in (np.arange(8), np.arange(8), np.arange(0, 8, 2)))
    result = q.frechet_beside_reference(real, lost, draws=20)
    assert abs(result["distance"] - result["reference"]) < 2 * result["reference_sd"]
    assert q.density_and_coverage(real, complete)[1] > 0.9
    assert q.density_and_coverage(real, lost)[1] == pytest.approx(0.5, abs=0.06)


def test_each_class_is_covered_by_its_own_images_only():
    rng = np.random.default_rng(7)
    real, labels = rng.normal(size=(90, 2)), np.repeat([0, 1, 2], 30)
    synthetic, made_for = np.concatenate([real[:30], real[:30]]), np.repeat([0, 1], 30)
    real[30:60] += 100                                                # class 1's lie elsewhere; of class 2 there are none
    coverage, density, expected = q.coverage_by_class(real, labels, synthetic, torch.from_numpy(made_for), 3)
    assert coverage.tolist() == [1, 0, 0] and density[1] == 0 and np.isnan(density[2])
    assert expected.tolist() == [q.expected_coverage(30, 30), q.expected_coverage(30, 30), 0]


# ---------------------------------------------------------------- rightness
def test_agreement_is_counted_within_each_class():
    assert q.class_agreement([0, 1, 1, 1], [0, 0, 1, 1], 2).tolist() == [50.0, 100.0]


def test_digits_are_judged_by_the_nearest_real_digit_and_others_by_the_network():
    test = load("digits", canvas=10).test
    settings = {"canvas": 10, "data_seed": 0}
    judged, name, right = q.label_judge("digits", settings, None, test)
    assert name == "nearest real digit" and 90 < right < 100
    assert torch.equal(judged(test.images), test.labels)             # it knows all digits, these among them
    data = toy(40, seed=3)
    judge = judged_by(toy())
    judged, name, right = q.label_judge("folder", settings, judge, data)
    assert name == judge.name and right == 100 * (judged(data.images) == data.labels.numpy()).mean()


# ---------------------------------------------------------------- copies of training images
def test_a_copy_has_distance_0_and_names_its_original():
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    distance, index = q.nearest_distance(reference[[7, 3]], reference)
    assert distance.max() < 0.05 and index.tolist() == [7, 3]        # float32 dot products of 192 squares
    brighter = np.clip(reference[[7]].astype(int) // 2 + 60, 0, 255).astype(np.uint8)
    expected = np.sqrt(((brighter[0].astype(float) - reference.astype(float)) ** 2).mean((1, 2, 3))).min()
    assert q.nearest_distance(brighter, reference)[0][0] == pytest.approx(expected, rel=1e-4)


def labelled(images, labels=None):
    """Images of the classes "easy" and "hard"; easy alone unless told."""
    labels = torch.zeros(len(images), dtype=torch.int64) if labels is None else torch.as_tensor(labels)
    return Images(images, labels, ("easy", "hard"))


def two_classes(rng, easy, hard):
    """Easy pictures have half the noise, so they lie nearer to training images."""
    return labelled(torch.cat([pictures(rng, easy, noise=20), pictures(rng, hard)]), [0] * easy + [1] * hard)


def test_the_gates_p_is_that_of_the_precedence_test_in_one_class():
    """Of n new values, the number under the j-th of m others is beta-binomial, whatever their distribution."""
    rng = np.random.default_rng(8)
    train, held_out, synthetic = (labelled(pictures(rng, n)) for n in (100, 180, 90))
    gate = q.memorised(synthetic, train, held_out, level=0.05)
    under = round(gate["share"] * 90 / 100)
    assert gate["expected"] == pytest.approx(100 * 9 / 181) and under > 0
    assert gate["p"] == pytest.approx(stats.betabinom.sf(under - 1, 90, 9, 181 - 9), rel=1e-9)


def test_the_count_of_two_classes_is_the_sum_of_theirs():
    rng = np.random.default_rng(14)
    train, held_out, synthetic = two_classes(rng, 50, 50), two_classes(rng, 60, 90), two_classes(rng, 40, 20)
    gate = q.memorised(synthetic, train, held_out, level=0.1)
    draws = (stats.betabinom.rvs(40, 6, 55, size=400_000, random_state=rng)
             + stats.betabinom.rvs(20, 9, 82, size=400_000, random_state=rng))
    assert gate["expected"] == pytest.approx(100 * (40 * 6 / 61 + 20 * 9 / 91) / 60)
    assert gate["p"] == pytest.approx((draws >= round(gate["share"] * 60 / 100)).mean(), abs=0.004)   # 5 errors


def test_on_fresh_images_the_gate_has_its_level_whatever_the_mix_of_classes():
    """All synthetic images are of the easy class, of the held-out ones every second."""
    rng, gates = np.random.default_rng(9), []
    for _ in range(300):
        train, held_out, synthetic = two_classes(rng, 25, 25), two_classes(rng, 90, 90), two_classes(rng, 100, 0)
        gates.append(q.memorised(synthetic, train, held_out, level=0.02))
    share, p = (np.array([gate[key] for gate in gates]) for key in ("share", "p"))
    assert gates[0]["expected"] == pytest.approx(100 * 2 / 91)
    assert abs(share.mean() - gates[0]["expected"]) < 4 * share.std() / 300**0.5
    assert np.mean(p < 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5
    assert np.mean(p < 0.3) > 0.15                                    # it is not silent because it never speaks


def test_the_share_that_would_be_found_is_found_half_of_the_time():
    rng, found = np.random.default_rng(15), []
    for _ in range(60):
        train, held_out, fresh = (labelled(pictures(rng, n)) for n in (100, 300, 200))
        planted = round(q.memorised(fresh, train, held_out)["detectable"] * 200 / 100)
        copies = labelled(torch.cat([nudge(rng, train.images[:planted], 3), fresh.images[planted:]]))
        found.append(q.memorised(copies, train, held_out)["p"] < q.ALARM)
    assert 0 < planted < 25 and 0.25 < np.mean(found) < 0.85          # 4 errors around what skewness makes of a half


def test_three_percent_of_noisy_copies_raise_the_alarm_and_close_ones_are_counted():
    rng = np.random.default_rng(10)
    train, held_out, fresh = (labelled(pictures(rng, n)) for n in (300, 900, 500))
    for sd, word in ((4, "too close"), (0.5, "copies")):
        planted = labelled(torch.cat([nudge(rng, train.images[:15], sd), fresh.images[15:]]))
        gate, control = q.memorised(planted, train, held_out), q.memorised(planted, held_out, train)
        assert gate["p"] < q.ALARM <= control["p"] and q.memorisation(planted, train, held_out)["verdict"] == word
        assert gate["copies"] == (15 if word == "copies" else 0)
    assert q.memorisation(fresh, train, held_out)["verdict"] == "none found"


def test_copies_in_the_mirror_are_copies():
    """The referee's example: of 1,000 mirrored training images the gate said "none found"."""
    rng = np.random.default_rng(16)
    train, held_out, fresh = (labelled(pictures(rng, n)) for n in (300, 300, 100))
    mirrored = labelled(train.images[:100].flip(-1))
    gate = q.memorisation(mirrored, train, held_out)
    assert gate["verdict"] == "copies" and gate["copies"] == 100
    near = labelled(nudge(rng, mirrored.images, 4))
    assert q.memorisation(near, train, held_out)["verdict"] == "too close"
    assert q.memorisation(fresh, train, held_out)["verdict"] == "none found"
    pairs = q.nearest_pairs(mirrored.images, train.images, held_out.images, 3)
    assert pairs["to_train"].max() < 0.05 and set(pairs["train"]) <= set(range(100))


def test_a_mirrored_reference_is_compared_both_ways():
    rng = np.random.default_rng(17)
    images, reference = pictures(rng, 20), pictures(rng, 30)
    both = q.nearest_distance(images, torch.cat([reference, reference.flip(-1)]))
    distance, index = q.nearest_distance(images, reference, mirrored=True)
    assert distance == pytest.approx(both[0], abs=1e-3) and (index == both[1] % 30).all()


def test_what_the_gate_tells_is_what_the_result_holds():
    train, held_out, synthetic = (labelled(pictures(np.random.default_rng(k), 30)) for k in range(3))
    assert Memorisation(**q.memorisation(synthetic, train, held_out)).images == 30


def test_smooth_images_are_close_to_all_and_the_control_says_so():
    rng = np.random.default_rng(11)
    train, held_out, smooth = pictures(rng, 300), pictures(rng, 300), pictures(rng, 200, noise=0)
    told = q.memorisation(*map(labelled, (smooth, train, held_out)))
    assert told["p"] < q.ALARM and told["verdict"] == "undecided"
    pairs = q.nearest_pairs(smooth, train, held_out, 200)
    assert np.mean(pairs["to_train"] < pairs["to_held_out"]) == pytest.approx(0.5, abs=0.15)


def test_the_pairs_begin_with_the_copy_and_name_both_neighbours():
    rng = np.random.default_rng(12)
    train, held_out, synthetic = (pictures(rng, n) for n in (50, 40, 30))
    synthetic[17], synthetic[4] = nudge(rng, train[[23]], 3)[0], train[9]
    pairs = q.nearest_pairs(synthetic, train, held_out, rows=5)
    assert pairs["synthetic"][:2].tolist() == [4, 17] and pairs["train"][:2].tolist() == [9, 23]
    assert (np.diff(pairs["to_train"]) >= 0).all() and len(pairs["held_out"]) == 5
    for i, j, distance in zip(pairs["synthetic"], pairs["held_out"], pairs["to_held_out"], strict=True):
        both = torch.stack([held_out, held_out.flip(-1)]).double()
        rms = (synthetic[i].double() - both).square().mean((2, 3, 4)).sqrt().amin(0)
        assert int(rms.argmin()) == j and float(rms.min()) == pytest.approx(distance, rel=1e-4)


# ---------------------------------------------------------------- test images
@pytest.mark.parametrize("side, channels", [(12, 1), (16, 3), (9, 1)])
def test_one_leaked_test_image_among_many_raises_the_alarm(side, channels):
    rng = np.random.default_rng(side)
    pool, test = (torch.from_numpy(rng.integers(0, 256, (n, channels, side, side), dtype=np.uint8)) for n in (700, 300))
    q.check_no_leak(pool, test, what="synthetic images")             # silent
    for noise in (0, 1):
        leaked = pool.clone()
        leaked[611] = (test[42].int() + torch.from_numpy(rng.integers(-noise, noise + 1, test[42].shape))).clamp(0, 255).to(torch.uint8)
        with pytest.raises(q.LeakedTest, match=r"^1 of 700 images of synthetic images are .* image 611, test image 42$"):
            q.check_no_leak(leaked, test, what="synthetic images")


def test_a_test_image_in_the_mirror_is_a_leak():
    rng = np.random.default_rng(18)
    pool, test = (torch.from_numpy(rng.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)) for n in (40, 30))
    pool[11] = test[5].flip(-1)
    with pytest.raises(q.LeakedTest, match=r"^1 of 40 images .* or mirrored\), the first is image 11, test image 5$"):
        q.check_no_leak(pool, test, what="synthetic images")


def test_the_block_means_never_hide_a_pair_and_the_count_is_that_of_all_pairs():
    """Low contrast, so that many pairs are close in block means and some in pixels; sides that 4 does not divide."""
    rng = np.random.default_rng(13)
    for shape in ((1, 9, 10), (3, 8, 11)):
        pool, test = (torch.from_numpy(rng.integers(100, 103, (n, *shape), dtype=np.uint8)) for n in (60, 50))
        pool[7], pool[8] = test[5], test[6] + 1                       # all pixels one level off: just still a copy
        pool[9] = test[7]
        pool[9, 0, :2, :2] += 4                                       # in a block smaller than others
        rms = (pool[:, None].double() - test.double()).square().flatten(2).mean(2).sqrt()
        bound = np.linalg.norm(copies._block_means(pool)[:, None] - copies._block_means(test), axis=2)
        assert (bound <= rms.numpy() + 1e-12).all()
        assert bound[8, 6] == pytest.approx(1, abs=1e-12)             # the bound is reached
        mirrored = (pool.flip(-1)[:, None].double() - test.double()).square().flatten(2).mean(2).sqrt()
        with pytest.raises(q.LeakedTest, match=f"^{int((torch.minimum(rms, mirrored) <= 1).any(1).sum())} of 60 "):
            q.check_no_leak(pool, test, what="the pool")


# ---------------------------------------------------------------- FID proper
def test_without_torch_fidelity_fid_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(InputError, match="pip install torch-fidelity"):
        q.fid(toy().images, toy().images)


def test_fid_hands_over_rgb_images_and_returns_the_number(monkeypatch):
    def calculate_metrics(input1, input2, fid, **others):
        assert fid and (len(input1), len(input2)) == (60, 20)
        assert input1[0].shape == (3, 9, 9) and input1[0].dtype == torch.uint8
        return {"frechet_inception_distance": float(input2[4].float().mean())}
    monkeypatch.setitem(sys.modules, "torch_fidelity", SimpleNamespace(calculate_metrics=calculate_metrics))
    images = toy().images
    assert q.fid(images, images[:20]) == pytest.approx(float(images[4].float().mean()), rel=1e-6)
