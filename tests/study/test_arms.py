"""The study's arms: what makes no difference is not found, what makes one is, and the test stays sealed."""
import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from lib import ROOT, InputError, data
from lib.data.images import Images, fingerprint, join, select, to_float
from lib.engine import parameters
from lib.report import drawings, runs, tables
from lib.study import ARMS, Arm, classifiers, fitting, outcomes, quality, statistics
from lib.study import arms as study
from lib.study.results import ArmResult, Estimate

UNFILTERED = [name for name, arm in ARMS.items() if not arm.filtered and not arm.needs]


def recipe(**changed):
    return fitting.Recipe(**{"classifier": "mlp", "widths": [32], "steps": 150, "batch": 32, "lr": 1e-2, "weight_decay": 0.0,
                           "optimizer": "adamw", "synthetic_fraction": 0.5, "seeds": 5, "seed": 0,
                           "device": torch.device("cpu"), **changed})


def toy(n, seed=0, signal=12, classes=4, counts=None):
    """Classes of 8x8 images, each a faint pattern of its own under strong noise: images of one class are not alike."""
    g = torch.Generator().manual_seed(seed)
    patterns = torch.randn(classes, 1, 8, 8, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(n) % classes if counts is None else torch.arange(classes).repeat_interleave(torch.tensor(counts))
    x = 127 + signal * patterns[labels] + 40 * torch.randn(len(labels), 1, 8, 8, generator=g)
    return Images(x.round().clamp(0, 255).to(torch.uint8), labels, tuple("abcdefgh"[:classes]))


def mixes(train, generated, steps=150, seed=0, names=UNFILTERED):
    """{arm: Mix}; train: of each replicate; generated: of each generator a list of each replicate."""
    return study.build(names, study.Sources(train, generated), study.ArmOptions(steps, 8, 0.5, seed))


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", canvas=8)


def trained(arm, judged, **changed):
    """Predictions of an arm's networks for the images `judged`: (1, generators, seeds, N)."""
    models = fitting.fit(arm, recipe(**changed), [select(judged, slice(10))]).models
    return study.SealedTest([judged]).open("it", models)


def gain(judged, real, other):
    """The Estimate of the accuracy that the networks of one arm have more than those of another."""
    return outcomes.difference({"real": real, "other": other}, judged.labels.numpy(), "other", "real")


# ---------------------------------------------------------------- the sealed test
def test_each_arm_opens_the_test_once():
    judged, made = toy(30), [classifiers.MLP((1, 8, 8), 4, (5,), members=2, seed=s) for s in (0, 10, 20)]
    test = study.SealedTest([judged])
    assert len(test) == 30 and np.array_equal(test.labels, judged.labels.numpy()) and test.opened == []
    p = test.open("real", made)
    assert p.shape == (1, 3, 2, 30)                                  # replicates, generators, seeds, test images
    assert np.array_equal(p[0, 1, 0], made[1](to_float(judged.images).expand(2, -1, -1, -1, -1))[0].argmax(-1).numpy())
    test.open("real + synthetic", made[:1])
    for arm in ("real", "real + synthetic"):
        with pytest.raises(InputError, match=rf"^arm '{arm.replace('+', '.')}' has opened the test already"):
            test.open(arm, made)
    assert test.opened == ["real", "real + synthetic"]


def cells(notebook):
    text = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in text["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", ["40_augment", "45_dose"])
def test_in_the_notebooks_the_test_is_taken_sealed_and_nothing_else_of_it(notebook):
    lines = [line.strip() for source in cells(notebook) for line in source.splitlines() if re.search(r"\.test\b", line)]
    assert [line.partition("#")[0].rstrip() for line in lines] == ["test, split = given.test, given.splits[0]"]


def finished_runs(folder, images, seed=0, per_class=0, **sampling):
    """A generation with these images, and its training on digits with the data_seed `seed`."""
    split = data.load("digits", seed=seed, per_class=per_class)
    folder.mkdir(exist_ok=True)
    made = runs.Run(folder)
    made.save_arrays("images.npz", images=images.images, labels=images.labels, scores=np.ones(len(images), np.float32))
    runs.write_json(made.path("config.json"), {"images_per_class": 1} | sampling)
    config = {"dataset": "digits", "data_dir": "", "size": 0, "canvas": 0, "per_class": per_class, "data_seed": seed}
    trained = SimpleNamespace(config=config, name="p/train/x", result=SimpleNamespace(split=fingerprint(split)))
    return made, trained


def test_the_material_of_replicates_has_the_images_of_each_and_no_test_image(tmp_path):
    given = []
    for seed in (1, 0):
        (tmp_path / f"g{seed}").mkdir()
        given.append(finished_runs(tmp_path / f"g{seed}", study.first_of_each_class(data.load("digits", seed=seed).train, 2), seed))
    found = study.material(*zip(*given, strict=True))
    assert found.data_seeds == [1, 0] and found.groups == {"the only one": [1, 0]}
    for split, seed in zip(found.splits, (0, 1), strict=True):
        assert fingerprint(split) == fingerprint(data.load("digits", seed=seed))
    assert len(found.train) == len(found.validation) == 2 and found.test.opened == []
    assert [len(images) for images in found.synthetic] == [20, 20] and found.replicates == 2
    (own,), sources = found.sources("the only one").synthetic, found.sources("the only one")
    assert own == [found.synthetic[i] for i in (1, 0)] and sources.train[0] is found.splits[0].train  # of each replicate
    leaked = finished_runs(tmp_path / "g0", select(data.load("digits").test, slice(0, 3)))
    with pytest.raises(quality.LeakedTest, match="^3 of 3 images of .* are test images"):
        study.material(*zip(leaked, strict=True))


def test_notebook_40_makes_its_choices_before_it_opens_the_test():
    sources = cells("40_augment")
    opened = [i for i, source in enumerate(sources) if "test.open(" in source]
    chosen = [i for i, source in enumerate(sources) if re.search(r"choices\.(best|fit)\(|study\.optima\(", source)]
    assert len(opened) == 1 and max(chosen) < opened[0]


def test_the_arm_by_hand_in_notebook_40_gives_the_weights_of_the_trainer(digits):
    """The notebook's own cells, and train_classifier on the same images, in float32 with a fused optimiser."""
    made = select(digits.validation, slice(0, 60))
    page = {"torch": torch, "F": torch.nn.functional, "classifiers": classifiers, "PassOrder": classifiers.PassOrder,
            "to_float": to_float, "split": digits, "synthetic": [made],
            "config": SimpleNamespace(classifier="mlp", widths=[16], batch=32, seed=3)}
    for cell in [source for source in cells("40_augment") if "def batch_of(step)" in source or "descent.step()" in source]:
        exec(cell, page)
    model = classifiers.MLP(digits.image_shape, 10, [16], seed=3)
    batches = classifiers.Batches([digits.train], [made], batch=32, seed=3)
    list(classifiers.train_classifier(model, batches, steps=50, lr=0.05, optimizer="sgd"))
    torch.testing.assert_close(page["network"].weights[0], model.weights[0], rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- the harness judged by what is known
def test_real_images_passed_off_as_synthetic_change_nothing(digits):
    train = study.first_of_each_class(digits.train, 20)
    arms = {"real": study.mix([train]), "mixed": study.mix([train], [[train], [train]])}
    e = gain(digits.test, *(trained(arm, digits.test, seeds=6) for arm in arms.values()))
    assert not e.clear and e.n == 12


def test_real_twice_is_as_good_as_real(digits):
    train = study.first_of_each_class(digits.train, 20)
    arms = mixes([train], [[train]], 150)
    assert len(arms["real twice"].variants[0][0][0]) == 2 * len(train)
    real, twice = (trained(arms[name], digits.test, seeds=8, steps=60) for name in ("real", "real twice"))
    assert not gain(digits.test, real, twice).clear
    accuracies = [statistics.accuracy(p, digits.test.labels.numpy()).ravel() for p in (real, twice)]
    assert stats.ks_2samp(*accuracies).pvalue > 0.05 and accuracies[0].mean() < 90   # before it has learned all: steps count


def test_useful_new_images_raise_the_accuracy_and_false_ones_lower_it(digits):
    few = study.first_of_each_class(digits.train, 5)
    rest = [k[5:] for k in study.of_classes(digits.train)]           # real images held back, passed as synthetic
    rest = select(digits.train, torch.cat(rest))
    false = Images(rest.images, (rest.labels + 1) % 10, rest.classes)
    real, new, wrong = (trained(arm, digits.test) for arm in (
        study.mix([few]), study.mix([few], [[rest]]), study.mix([few], [[false]])))
    assert gain(digits.test, real, new).above_zero and gain(digits.test, real, wrong).below_zero


def test_shuffled_labels_alone_fall_to_chance_and_right_ones_do_not():
    """Toy images, for those of one class must not be alike: digits of a class get one label all together."""
    train, judged = toy(400), toy(1000, seed=1)
    sources = study.Sources([train], [[train]] * 5)
    shuffled, real = (100 * (trained(sources.alone(images), judged) == judged.labels.numpy()).mean()
                      for images in (sources.shuffled(0), sources.synthetic))
    low, high = 100 * stats.binom.interval(0.99, 1000, 1 / 4)[0] / 1000, 100 * stats.binom.interval(0.99, 1000, 1 / 4)[1] / 1000
    assert low < shuffled < high and real > high + 20


def test_a_test_image_among_the_synthetic_ones_is_found(digits):
    synthetic = study.first_of_each_class(digits.train, 10)
    quality.check_no_leak(synthetic.images, digits.validation.images, what="the generator")
    leaked = join(synthetic, select(digits.validation, [17]))
    with pytest.raises(quality.LeakedTest, match="^1 of 101 images of the generator are test images .* image 100, test image 17$"):
        quality.check_no_leak(leaked.images, digits.validation.images, what="the generator")


# ---------------------------------------------------------------- the arms
@pytest.fixture
def seen(monkeypatch):
    """What the networks saw: for each one the batches of its training and its weights before the first."""
    made = []

    class Spy(classifiers.MLP):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(SimpleNamespace(batches=[], start=[p.detach().clone() for p in self.parameters()]))
            self.notes = made[-1]

        def forward(self, x):
            if self.training:
                self.notes.batches.append(x.clone())
            return super().forward(x)

    monkeypatch.setitem(classifiers.CLASSIFIERS, "mlp", Spy)
    return made


def test_all_arms_take_the_same_steps_and_batch_from_the_same_weights_and_one_takes_fewer(seen):
    train, generated, first = [toy(20)], [[toy(40, seed=1)], [toy(40, seed=2)]], {}
    arms = mixes(train, generated, 10)
    for name, arm in arms.items():
        seen.clear()
        fitting.fit(arm, recipe(steps=10, batch=8, seeds=2), [toy(6, seed=3)])
        assert len(seen) == len(arm.variants)
        for notes in seen:
            assert len(notes.batches) == {"real, equal epochs": 3, "real, equal presentations": 5}.get(name, 10)  # 10 * 20 / (20 + 40)
            assert {tuple(x.shape) for x in notes.batches} == {(2, 8, 1, 8, 8)}
            first.setdefault("weights", notes.start)
            assert all(map(torch.equal, notes.start, first["weights"]))
        first[name] = seen[0].batches
    real = torch.cat(first["real"], 1)[:, :20]                       # the first pass, in its order
    assert torch.equal(torch.cat(first["real, equal epochs"], 1)[:, :20], real)
    assert torch.equal(torch.cat(first["real, equal presentations"], 1)[:, :20], real)
    for name in ("real + noise", "real + retrieval", "real + synthetic", "real + shuffled labels"):
        part = torch.cat([x[:, :4] for x in first[name]], 1)[:, :20]  # half of each batch is real
        assert torch.equal(part, real), name
    assert not torch.equal(first["real + flip"][0], first["real"][0])


@pytest.mark.parametrize("steps, real, synthetic, taken", [(1000, 500, 500, 500), (1000, 100, 200, 333), (7, 12, 400, 1)])
def test_equal_epochs_are_the_steps_in_proportion_to_the_images(steps, real, synthetic, taken):
    arms = mixes([toy(real)], [[toy(synthetic, seed=1)]], steps)
    assert arms["real, equal epochs"].steps == taken
    assert all(arm.steps == 0 for name, arm in arms.items() if "equal" not in name)


def test_equal_presentations_are_the_updates_in_which_real_images_are_seen_as_often():
    """The referee's example: 18 % of each batch is taken from the real images."""
    settings = study.ArmOptions(1500, 128, 0.18)
    synthetic = round(128 * 0.18)
    assert settings.equal_presentations * 128 == pytest.approx(1500 * (128 - synthetic), abs=64)
    assert study.ArmOptions(1, 4, 0.5).equal_presentations == 1
    real = mixes([toy(20)], [[toy(40)]], 10)["real, equal presentations"]
    assert real.steps == 5 and real.variants == study.mix([real.variants[0][0][0]]).variants


def test_arms_have_a_variant_for_each_generator():
    train, generated = [toy(20)], [[toy(40, seed=s)] for s in (1, 2, 3)]
    arms = mixes(train, generated, 10)
    many = {"real + retrieval", "real + synthetic", "real + shift + synthetic", "synthetic only", "real + shuffled labels"}
    assert {name: len(arm.variants) for name, arm in arms.items()} == {name: 3 if name in many else 1 for name in UNFILTERED}
    for name in ("real + synthetic", "real + shift + synthetic"):
        assert arms[name].variants == tuple((tuple(train), tuple(made)) for made in generated)
    assert [len(images) for (images,), _ in arms["synthetic only"].variants] == [20] * 3     # of each class as many as real
    assert {name: arm.augment for name, arm in arms.items() if arm.augment} == {
        "real + flip": "flip", "real + shift": "shift", "real + flip and shift": "flip and shift", "real + shift + synthetic": "shift",
        "real, balanced + shift": "shift", "real, balanced + flip and shift": "flip and shift",
        **{f"real + {name}": name for name in ("randaugment", "mixup", "cutmix")}}


def rows_of(images):
    return [(x.numpy().tobytes(), int(y)) for x, y in zip(images.images, images.labels, strict=True)]


def test_retrieval_takes_the_nearest_real_training_images_with_their_labels():
    train, generated = toy(40), [toy(30, seed=1), toy(30, seed=2)]
    arm = mixes([train], [[made] for made in generated], 10)["real + retrieval"]
    for made, ((real,), (found,)) in zip(generated, arm.variants, strict=True):
        assert real is train and len(found) == 30 and set(rows_of(found)) <= set(rows_of(train))
        distance = (made.images[:, None].double() - train.images.double()).square().flatten(2).sum(-1)
        chosen = (made.images.double() - found.images.double()).square().flatten(1).sum(-1)
        assert torch.equal(chosen, distance.min(1).values)


def test_noise_is_a_little_on_the_real_images_and_keeps_their_labels():
    train = toy(40)
    ((real,), (noisy,)), = mixes([train], [[train]], 10)["real + noise"].variants
    difference = (noisy.images.double() - train.images.double()).std()
    assert real is train and torch.equal(noisy.labels, train.labels) and 10 < difference < 15        # 0.1 of 127.5 levels


def test_as_many_real_images_as_synthetic_ones_are_counted_in_each_class():
    """The referee's example: 10,000 synthetic images alone had no partner of 10,000 real ones."""
    real, made = toy(0, counts=[20, 5, 10, 1]), [toy(0, seed=s, counts=[8, 8, 8, 8]) for s in (1, 2)]
    arms = mixes([real], [[one] for one in made], 10, names=["synthetic only", "as many real ones"])
    (only, other), ((alone,), none) = (images for (images,), _ in arms["synthetic only"].variants), arms["as many real ones"].variants[0]
    for images in (only, other, alone):
        assert torch.bincount(images.labels, minlength=4).tolist() == [8, 5, 8, 1]
    assert set(rows_of(alone)) <= set(rows_of(real)) and set(rows_of(other)) <= set(rows_of(made[1])) and none is None


def test_shuffled_labels_keep_images_and_counts_and_follow_the_seed():
    made = [toy(0, seed=s, counts=[20, 5, 10, 1]) for s in (1, 2)]
    shuffled = {seed: [v for _, (v,) in mixes([toy(8)], [[one] for one in made], 10, seed)["real + shuffled labels"].variants]
                for seed in (0, 1)}
    for seed in (0, 1):
        for before, after in zip(made, shuffled[seed], strict=True):
            assert after.images is before.images and not torch.equal(after.labels, before.labels)
            assert torch.bincount(after.labels, minlength=4).tolist() == [20, 5, 10, 1]
    assert not torch.equal(shuffled[0][0].labels, shuffled[1][0].labels)
    assert not torch.equal(shuffled[0][0].labels, shuffled[0][1].labels)


# ---------------------------------------------------------------- parts of a set
def test_the_best_share_holds_the_highest_scores_of_each_class():
    images = toy(0, counts=[10, 4, 1, 5])
    scores = np.random.default_rng(0).random(20)
    scores[10:14] -= 1                                               # all of class b are worse than any other
    kept = study.best_share(images, scores, 0.3)
    assert torch.bincount(kept.labels).tolist() == [3, 1, 1, 2]      # a share of 4 is 1.2; of 1, at least one
    where = {x: i for i, x in enumerate(rows_of(images))}
    for c, best in enumerate((3, 1, 1, 2)):
        of_class = np.flatnonzero(images.labels == c)
        assert [where[x] for x in rows_of(kept) if x[1] == c] == list(of_class[np.argsort(-scores[of_class])[:best]])
    assert rows_of(study.best_share(images, np.zeros(20), 0.3)) == rows_of(study.first_of_each_class(images, 0.3))
    assert sorted(rows_of(study.best_share(images, scores, 1.0))) == sorted(rows_of(images))


def test_random_shares_are_as_large_as_the_best_ones_and_a_larger_holds_a_smaller():
    images, before = toy(0, counts=[40, 13, 1, 8]), set()
    for share in (0.01, 0.1, 0.25, 0.5, 0.9, 1.0):
        kept = study.random_share(images, share, seed=3)
        assert torch.equal(kept.labels, study.best_share(images, np.arange(62), share).labels)
        assert before <= (now := set(rows_of(kept))) <= set(rows_of(images)) and len(now) == len(kept)
        before = now
        assert rows_of(study.random_share(images, share, seed=3)) == rows_of(kept)
    other = study.random_share(images, 0.25, seed=4)
    assert rows_of(other) != rows_of(study.random_share(images, 0.25, seed=3)) != rows_of(study.first_of_each_class(images, 0.25))


def test_the_first_of_each_class_are_a_number_or_a_share():
    images = toy(20)
    assert study.first_of_each_class(images, 2).images.equal(images.images[[0, 4, 1, 5, 2, 6, 3, 7]])
    assert len(study.first_of_each_class(images, 1)) == 4 and len(study.first_of_each_class(images, 1.0)) == 20
    assert torch.bincount(study.first_of_each_class(images, 0.4).labels).tolist() == [2] * 4
    assert torch.bincount(study.first_of_each_class(images, 0.001).labels).tolist() == [1] * 4
    assert torch.bincount(study.first_of_each_class(images, [3, 0, 9, 1]).labels, minlength=4).tolist() == [3, 0, 5, 1]
    assert len(study.first_of_each_class(images, 0)) == 0 and len(study.first_of_each_class(images, 99)) == 20
    some = select(images, images.labels != 2)
    assert [int(images.labels[k[0]]) for k in study.of_classes(images)] == [0, 1, 2, 3]
    assert set(study.first_of_each_class(some, 1).labels.tolist()) == {0, 1, 3}


# ---------------------------------------------------------------- replicates
def replicas(number, helps, n=60, made=200):
    """(train, validation, SealedTest, generated) of replicates whose test images overlap: images 0 to 599 of 800, and so
    on. The synthetic images are new real ones, or copies of the training images, which cannot help."""
    pool, size = toy(100 * number + 500, seed=1), 600
    ids = [np.arange(100 * r, 100 * r + size) % len(pool) for r in range(number)]
    train = [toy(n, seed=10 + r) for r in range(number)]
    generated = [toy(made, seed=50 + r) if helps else t for r, t in enumerate(train)]
    test = study.SealedTest([select(pool, torch.from_numpy(i)) for i in ids], ids)
    return train, [toy(80 + r, seed=90 + r) for r in range(number)], test, generated


def gain_of_replicates(helps, number=5):
    train, validation, test, generated = replicas(number, helps)
    predictions = {name: test.open(name, fitting.fit(arm, recipe(steps=100), validation).models) for name, arm in (
        ("real", study.mix(train)), ("mixed", study.mix(train, [generated])))}
    return outcomes.difference(predictions, test.labels, "mixed", "real")


def test_a_study_of_replicates_finds_a_planted_effect_and_no_other():
    found = gain_of_replicates(helps=True)
    assert found.above_zero and (found.n, found.of) == (5, "replicates")
    assert gain_of_replicates(helps=False).p > 0.01                 # one study in twenty has a p below 0.05


@pytest.mark.parametrize("kind, widths", [("mlp", [16]), ("cnn", [4])])
def test_the_network_of_a_replicate_is_the_one_trained_alone_on_its_images(kind, widths):
    """Sets of different sizes; images, seed, and the order of the images are each replicate's own."""
    train, generated = [toy(60), toy(44, seed=1), toy(52, seed=2)], [toy(40, seed=s) for s in (3, 4, 5)]
    validation = [toy(30, seed=6), toy(41, seed=7), toy(17, seed=8)]
    options = {"classifier": kind, "widths": widths, "steps": 20}
    (together,), curve, outcomes_ = fitting.fit(study.mix(train, [generated]), recipe(**options), validation)
    assert together.members == 3 and curve[0][1].shape == (3,) and outcomes_.shape == (3, 1, 1, 30 + 41 + 17)
    accuracies = statistics.replicate_means(outcomes_)
    for r in range(3):
        alone = fitting.fit(study.mix([train[r]], [[generated[r]]]), recipe(**options, seeds=1, seed=r), [validation[r]])
        a, b = (m.weights[0] if kind == "mlp" else m.nets[k][0].weight for m, k in ((together, r), (alone.models[0], 0)))
        torch.testing.assert_close(a[r] if kind == "mlp" else a, b[0] if kind == "mlp" else b, rtol=1e-3, atol=1e-4)
        assert accuracies[r] == pytest.approx(alone.validation, abs=100 / len(validation[r]) + 1e-9)  # one image


def test_every_image_of_the_replicates_tests_has_one_column_and_one_label():
    train, _, test, _ = replicas(3, helps=True)
    model = classifiers.MLP((1, 8, 8), 4, (5,), members=3)
    p = test.open("real", [model])
    assert p.shape == (3, 1, 1, 800) and len(test) == len(test.labels) == 800
    p = p[:, 0, 0]
    assert [(row != statistics.NOT_TESTED).nonzero()[0].tolist() for row in p] == [list(range(100 * r, 100 * r + 600)) for r in range(3)]
    own = toy(800, seed=1)
    assert test.labels.tolist() == own.labels.tolist()
    assert p[1, 100:700].tolist() == classifiers.predict(model, [own.images[100:700]])[0][1].tolist()
    assert outcomes.accuracies(p, test.labels) == pytest.approx(
        [statistics.accuracy(p[r, 100 * r:100 * r + 600], test.labels[100 * r:100 * r + 600]) for r in range(3)])


def test_digits_of_every_seed_are_the_same_images_of_the_test():
    splits = [data.load("digits", seed=s) for s in (0, 1)]
    known = {}
    for split in splits:
        for i, image, label in zip(split.test_ids, split.test.images, split.test.labels, strict=True):
            assert known.setdefault(int(i), (image.numpy().tobytes(), int(label))) == (image.numpy().tobytes(), int(label))
    assert 898 < len(study.sealed(splits)) == len(known) < 1797


def test_an_arm_is_built_only_where_it_is_asked_for(monkeypatch):
    """Noisy copies and nearest images of large sets take minutes."""
    asked = []
    for name, arm in ARMS.items():
        spy = dataclasses.replace(arm, build=lambda sources, options, name=name: asked.append(name))
        monkeypatch.setitem(ARMS, name, spy)
    mixes([toy(8)], [[toy(8)]], names=["real", "real + noise"])
    assert asked == ["real", "real + noise"]


def test_an_arm_that_is_added_is_accepted_explained_shown_and_drawn(monkeypatch):
    """One entry of the registry is all that a new arm takes."""
    new = Arm("free augmentation", "real images, turned upside down", lambda sources, options: sources.real(), "flip")
    monkeypatch.setitem(ARMS, "real + turn", new)
    values = parameters.defaults(parameters.STEPS["augment"].file)
    with_it = dict(values, arms=["real", "real + turn", "real + synthetic"])
    assert parameters.build(parameters.AugmentConfig, with_it).arms[1] == "real + turn"
    with pytest.raises(InputError, match="^arms=.*'real . turn off'"):
        parameters.build(parameters.AugmentConfig, dict(values, arms=["real + turn off"]))
    assert mixes([toy(8)], [[toy(8)]], names=["real + turn"])["real + turn"].augment == "flip"
    assert "| real + turn | real images, turned upside down | free augmentation |" in tables.explained(ARMS).splitlines()
    fits = {arm: fitting.Fit([], [], np.full((1, 1, 1, 4), v)) for arm, v in (("real", 1), ("real + flip", 2), ("real + turn", 3))}
    assert fitting.best_rival(fits) == "real + turn"
    gain = Estimate(1.0, 0.5, 1.5, 5, "networks", "points")
    result = SimpleNamespace(each_gain=None, arm=lambda name: ArmResult(name, 10, Estimate(50.0), 0.1, 50.0, None), arms=[ArmResult(arm, 10, Estimate(50.0), 0.1, 50.0, gain) for arm in ("real + turn", "real + synthetic")])
    assert "real + turn" in tables.arms(result)["arm"].tolist()
    drawn = [tick.get_text() for tick in drawings.gains(result).axes[0].get_yticklabels()]
    assert drawn == ["free augmentation", "real + turn", "synthetic images", "real + synthetic"]


def test_the_arms_of_the_notebooks_default_are_those_of_the_registry():
    assert set(parameters.defaults(parameters.STEPS["augment"].file)["arms"]) <= set(ARMS)


def test_the_arms_of_replicates_have_the_images_of_each():
    train, generated = [toy(20), toy(20, seed=1)], [toy(40, seed=2), toy(40, seed=3)]
    arms = mixes(train, [generated], 10)
    assert {len(arm.variants) for arm in arms.values()} == {1}
    few = mixes(train, [generated], 10, names=["real + shuffled labels", "real"])
    (_, shuffled), = arms["real + shuffled labels"].variants
    assert torch.equal(few["real + shuffled labels"].variants[0][1][1].labels, shuffled[1].labels)
    assert arms["real"].variants == ((tuple(train), None),) and arms["real + synthetic"].variants == ((tuple(train), tuple(generated)),)
    for r in (0, 1):
        assert set(rows_of(arms["real + retrieval"].variants[0][1][r])) <= set(rows_of(train[r]))
        assert torch.equal(arms["real + noise"].variants[0][1][r].labels, train[r].labels)


# ---------------------------------------------------------------- generators
TRAIN = {"dataset": "digits", "data_dir": "", "size": 0, "canvas": 12, "per_class": 50, "data_seed": 0, "schedule": "cosine",
         "channel_mult": [1, 2], "steps": 4000, "batch": 32, "seed": 0, "device": "cpu", "run_dir": "a"}
SAMPLE = {"train_run": "a", "images_per_class": 100, "guidance": 2.0, "batch": 250, "seed": 0, "device": "cpu", "run_dir": "b"}


def generators(*changes):
    """Each change: a mapping; what the training has is changed there, the rest in the sampling."""
    return [(TRAIN | {k: v for k, v in change.items() if k in TRAIN}, SAMPLE | {k: v for k, v in change.items() if k not in TRAIN})
            for change in changes]


def test_repeats_are_generators_that_differ_in_chance_alone():
    alike = generators({}, {"seed": 1, "run_dir": "c", "train_run": "c"}, {"device": "cuda"})
    alike[1][1]["seed"], alike[2][1]["batch"] = 8, 50               # the batch of the sampling changes no image
    assert study.by_setting(alike) == {"the only one": [0, 1, 2]}
    assert study.by_setting(alike[:1]) == {"the only one": [0]}


def test_words_name_what_sets_settings_apart_and_repeats_are_grouped():
    four = generators({}, {"guidance": 1.0}, {"seed": 1}, {"guidance": 1.0, "seed": 1})
    assert study.by_setting(four) == {"guidance 2.0": [0, 2], "guidance 1.0": [1, 3]}
    two = study.by_setting(generators({"schedule": "linear", "images_per_class": 30}, {"channel_mult": [1, 2, 2]}))
    assert sorted(two.values()) == [[0], [1]]
    assert [set(w.replace("[1, 2", "[1 2").replace("2, 2]", "2 2]").split(", ")) for w in two] == [
        {"schedule linear", "images_per_class 30", "channel_mult [1 2]"}, {"schedule cosine", "images_per_class 100", "channel_mult [1 2 2]"}]


def test_another_batch_of_the_training_is_another_setting():
    assert study.by_setting(generators({}, {"batch": 64})) == {"batch 32": [0], "batch 64": [1]}


def test_generators_of_different_data_are_refused():
    with pytest.raises(InputError, match="^generate_runs: canvas is .*: expected generators that learned from the same images"):
        study.by_setting(generators({}, {"canvas": 0}))


def test_replicates_are_ordered_by_their_split_in_each_setting():
    splits = [1, 0, 0, 1]
    four = generators(*({"data_seed": s, "seed": s, "guidance": g} for s, g in zip(splits, (2.0, 2.0, 1.0, 1.0), strict=True)))
    assert study.by_setting(four) == {"guidance 2.0": [1, 0], "guidance 1.0": [2, 3]}
    with pytest.raises(InputError, match="^generate_runs: the only one: data_seed 0, 0, 1: expected one split for all, or"):
        study.by_setting(generators({}, {}, {"data_seed": 1}))


def test_unequal_numbers_of_repeats_are_refused():
    with pytest.raises(InputError, match="^generate_runs: guidance 2.0: 2; guidance 1.0: 1: expected as many repeats"):
        study.by_setting(generators({}, {"seed": 1}, {"guidance": 1.0}))


# ---------------------------------------------------------------- an augmentation of all arms
def test_what_is_done_with_all_arms_comes_before_what_an_arm_adds():
    given = study.Sources([toy(20)], [[toy(40, seed=1)]], [[np.ones(40)]], "flip")
    built = study.build([name for name in ARMS if not ARMS[name].needs], given, study.ArmOptions(20, 8, 0.5, share=0.5))
    assert all(mix.augment.split(" and ")[0] == "flip" for mix in built.values())
    assert built["real + shift"].augment == "flip and shift" == built["real + flip and shift"].augment
    assert built["real + cutmix"].augment == "flip and cutmix" and built["real + synthetic"].augment == "flip"


# ---------------------------------------------------------------- few real images, and generators that learned from more
def two_replicates(folder, per_class, settings=({},), seeds=(0, 1)):
    """(generations, trainings) of two replicates, each of `settings` with images of its own."""
    made = []
    for k, sampling in enumerate(settings):
        for seed in seeds:
            images = study.first_of_each_class(data.load("digits", seed=seed).train, k + 1)
            made.append(finished_runs(folder / f"{per_class}-{k}-{seed}", images, seed, per_class, **sampling))
    return tuple(zip(*made, strict=True))


def test_a_study_of_few_real_images_has_oracles_and_further_images_of_its_own_splits(tmp_path):
    own = two_replicates(tmp_path, 10, ({"rung": 100}, {"rung": 300}))
    oracle = two_replicates(tmp_path, 0, ({"rung": 300},), seeds=(2, 1, 0))           # one more than is needed
    found = study.material(*own, oracles=oracle, further=True)
    assert [len(images) for images in found.train] == [100, 100]
    assert list(found.groups) == ["rung 100", "rung 300"] and list(found.oracle) == ["the only one"]
    assert set(found.made) == {("real + synthetic", "rung 100"), ("real + synthetic", "rung 300"), ("real + oracle", "the only one")}
    for r, split in enumerate(found.splits):
        whole = data.load("digits", seed=r).train
        assert set(rows_of(found.further[r])) | set(rows_of(split.train)) == set(rows_of(whole))
        assert not set(rows_of(found.further[r])) & set(rows_of(split.train))
    given = found.sources("rung 300", "shift")
    built = study.build(["real", "real + synthetic", "real + oracle", "real + further real"], given, study.ArmOptions(9, 8, 0.5))
    ((real, extra),) = built["real + oracle"].variants
    assert [rows_of(one) for one in extra] == [rows_of(study.first_of_each_class(data.load("digits", seed=r).train, 1)) for r in (0, 1)]
    ((_, further),) = built["real + further real"].variants
    assert real == tuple(found.train) and [len(one) for one in further] == [20, 20]   # of each class as many as synthetic ones
    assert {name: len(mix.variants[0][1][0]) for name, mix in found.mixes("real + synthetic").items()} == {"rung 100": 10, "rung 300": 20}
    best = {"real + synthetic": "rung 300", "real + oracle": "the only one"}
    each = found.named_settings({arm: found.mixes(arm) for arm in best}, best)
    assert list(each) == ["real + synthetic, rung 100", "real + synthetic", "real + oracle"]
    assert each["real + synthetic"].made == found.made["real + synthetic", "rung 300"]
    assert found.chosen(best, "shift").oracle == given.oracle and found.chosen(best).synthetic == given.synthetic
    (mix,) = found.mixes("real + oracle", "shift").values()
    assert mix.variants == built["real + oracle"].variants and mix.augment == built["real + oracle"].augment == "shift"


def test_an_oracle_that_did_not_learn_from_the_studys_images_or_may_know_its_test_is_refused(tmp_path, monkeypatch):
    own, oracle = two_replicates(tmp_path, 10), two_replicates(tmp_path, 0)
    with pytest.raises(InputError, match="^oracle_runs: they learned from per_class=5 .* per_class=10: expected more"):
        study.material(*own, oracles=two_replicates(tmp_path, 5))
    with pytest.raises(InputError, match="^oracle_runs: none has data_seed=1"):
        study.material(*own, oracles=tuple(part[:1] for part in oracle))
    splits, whole = study.splits_of(own[1]), data.load("digits")
    first = next(i for i, row in enumerate(rows_of(whole.train)) if row in set(rows_of(splits[0].train)))
    without_one = select(whole.train, torch.arange(len(whole.train)) != first)
    for other, words in ((dataclasses.replace(whole, train=without_one), "did not learn from all"),
                         (dataclasses.replace(whole, test=data.load("digits", seed=5).test, test_ids=None),
                          "the test images of data_seed=0 are others")):
        with monkeypatch.context() as patched:
            answers = iter([splits, {0: other}])                    # of the study's generators, then of the oracles
            patched.setattr(study, "splits_of", lambda trainings, answers=answers: next(answers))
            with pytest.raises(InputError, match=f"^oracle_runs: .*{words}"):
                study.material(*own, oracles=oracle)


def test_no_further_images_are_taken_where_none_is_left(tmp_path):
    with pytest.raises(InputError, match="^arms: 'real . further real': no real image is left"):
        study.material(*two_replicates(tmp_path, 0), further=True)
    with pytest.raises(InputError, match="^arms: 'real . oracle' needs oracle images"):
        study.build(["real + oracle"], study.material(*two_replicates(tmp_path, 10)).sources("the only one"), study.ArmOptions(9, 8, 0.5))
