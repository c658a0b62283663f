"""Tests of the study's harness: what makes no difference is not found, what makes one is, and the test stays sealed."""
import ast
import dataclasses
import functools
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from lib import ROOT, InputError, data
from lib.data.images import Images, join, select, to_float
from lib.study import arms as study
from lib.study import classifiers, quality, statistics

ARMS = ("real", "real twice", "real + flip", "real + shift", "real + flip and shift", "real + noise", "real + retrieval",
        "real + synthetic", "real + shift + synthetic", "synthetic only", "shuffled labels", "real, equal epochs")


def recipe(**changed):
    return study.Recipe(**{"classifier": "mlp", "widths": [32], "steps": 150, "batch": 32, "lr": 1e-2, "weight_decay": 0.0,
                           "optimizer": "adamw", "synthetic_fraction": 0.5, "seeds": 5, "seed": 0,
                           "device": torch.device("cpu"), **changed})


def toy(n, seed=0, signal=12, classes=4, counts=None):
    """Classes of 8x8 images, each a faint pattern of its own under strong noise: images of one class are not alike."""
    g = torch.Generator().manual_seed(seed)
    patterns = torch.randn(classes, 1, 8, 8, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(n) % classes if counts is None else torch.arange(classes).repeat_interleave(torch.tensor(counts))
    x = 127 + signal * patterns[labels] + 40 * torch.randn(len(labels), 1, 8, 8, generator=g)
    return Images(x.round().clamp(0, 255).to(torch.uint8), labels, tuple("abcdefgh"[:classes]))


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", canvas=8)


def trained(arm, judged, **changed):
    """Predictions of an arm's networks for the images `judged`: (variants, seeds, N)."""
    models = study.fit(arm, recipe(**changed), select(judged, slice(10))).models
    return study.SealedTest(judged).open("it", models)


def table(judged, **predictions):
    return study.compare(predictions, judged.labels.numpy())


def told(words):
    """A predicate of the row whose verdict is `words`."""
    return lambda row: study.verdict(row) == words


same, better, worse = told("do not clearly change"), told("raise"), told("lower")


# ---------------------------------------------------------------- the sealed test
def test_each_arm_opens_the_test_once():
    judged, made = toy(30), [classifiers.MLP((1, 8, 8), 4, (5,), members=2, seed=s) for s in (0, 10, 20)]
    test = study.SealedTest(judged)
    assert len(test) == 30 and np.array_equal(test.labels, judged.labels.numpy()) and test.opened == []
    p = test.open("real", made)
    assert p.shape == (3, 2, 30)                                     # variants, seeds, test images
    assert np.array_equal(p[1, 0], made[1](to_float(judged.images).expand(2, -1, -1, -1, -1))[0].argmax(-1).numpy())
    test.open("real + synthetic", made[:1])
    for arm in ("real", "real + synthetic"):
        with pytest.raises(InputError, match=rf"^arm '{arm.replace('+', '.')}' has opened the test already"):
            test.open(arm, made)
    assert test.opened == ["real", "real + synthetic"]


def test_in_the_module_only_the_sealed_test_sees_test_images():
    tree = ast.parse((ROOT / "lib" / "study.py").read_text(encoding="utf-8"))
    seal = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "SealedTest")
    where = {name.name: [n for n in ast.walk(name) if isinstance(n, ast.Attribute) and n.attr == "_images"]
             for name in seal.body if isinstance(name, ast.FunctionDef)}
    assert {name: len(found) for name, found in where.items()} == {"__init__": 1, "__len__": 1, "open": 1}
    reached = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in ("_images", "test", "__dict__")]
    assert len(reached) == 3
    loads = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == "data"}
    assert loads <= {"Images", "select", "join", "to_float", "to_uint8"}       # it loads no data of its own


def cells(notebook):
    text = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in text["cells"] if cell["cell_type"] == "code"]


def touches(source):
    """Lines that touch test images outside the seal and the check for leaks, or hand them on unseen."""
    tree, lines, found = ast.parse(source), source.splitlines(), []
    inner = {id(n.value): n for n in ast.walk(tree) if isinstance(n, ast.Attribute)}      # what stands before a dot
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        line, attribute = lines[node.lineno - 1].strip(), inner.get(id(node))
        if isinstance(node, ast.Attribute) and node.attr == "_images":
            found.append(line)
        elif isinstance(node, ast.Name) and node.id == "split" and isinstance(node.ctx, ast.Load):
            allowed = line.startswith(("test = study.SealedTest(split.test)", "quality.check_no_leak("))
            if attribute is None or attribute.attr not in ("train", "validation", "classes") and not (
                    attribute.attr == "test" and allowed):
                found.append(line)
        elif isinstance(node, ast.Name) and node.id == "split" and line != "split = data.load_for(trained[0].config)":
            found.append(line)
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "data" and (
                node.attr not in ("load_for", "Images", "join") or node.attr == "load_for" and not line.startswith("split = ")):
            found.append(line)
    return found


@pytest.mark.parametrize("notebook", ["40_augment", "45_dose"])
def test_in_the_notebooks_only_the_seal_and_the_check_for_leaks_see_test_images(notebook):
    sources = cells(notebook)
    assert [line for source in sources for line in touches(source)] == []
    text = "\n".join(sources)
    assert text.count("split.test") == text.count("SealedTest(split.test)") + text.count(", split.test.images, what=") == 2
    assert text.index("check_no_leak(") < text.index("study.fit(") and text.index("SealedTest(") < text.index("study.fit(")


@pytest.mark.parametrize("line", ["x = split.test", "f(split)", "y = split.test.labels", "x = test._images", "t = vars(split)",
                                  "other = data.load('digits').test", "split = other", "s = data.load_for(c)"])
def test_the_scan_finds_a_line_that_sees_the_test(line):
    assert touches("a = 1\n" + line) == [line]


def test_notebook_40_makes_its_choices_before_it_opens_the_test():
    sources = cells("40_augment")
    opened = next(i for i, source in enumerate(sources) if "test.open(" in source)
    chosen = [i for i, source in enumerate(sources) if "choose(" in source or "study.fit(" in source]
    assert chosen and max(chosen) < opened and sum(source.count("test.open(") for source in sources) == 1


# ---------------------------------------------------------------- the harness judged by what is known
def test_real_images_passed_off_as_synthetic_change_nothing(digits):
    train = study.first_of_each_class(digits.train, 20)
    arms = {"real": study.real_arm(train), "mixed": study.mixed_arm(train, [train, train])}
    row = table(digits.test, **{name: trained(arm, digits.test, seeds=6) for name, arm in arms.items()}).loc["mixed"]
    assert same(row) and row["p"] > 0.05 and row["low"] < 0 < row["high"] and row["n"] == 12


def test_real_twice_is_as_good_as_real(digits):
    train = study.first_of_each_class(digits.train, 20)
    arms = study.build_arms(train, (train,), 150)
    assert len(arms["real twice"].variants[0][0]) == 2 * len(train)
    p = {name: trained(arms[name], digits.test, seeds=8, steps=60) for name in ("real", "real twice")}
    row = table(digits.test, **p).loc["real twice"]
    assert same(row) and row["p"] > 0.05
    accuracies = [statistics.accuracy(x, digits.test.labels.numpy()).ravel() for x in p.values()]
    assert stats.ks_2samp(*accuracies).pvalue > 0.05 and accuracies[0].mean() < 90   # before it has learned all: steps count


def test_useful_new_images_raise_the_accuracy_and_false_ones_lower_it(digits):
    few = study.first_of_each_class(digits.train, 5)
    rest = [k[5:] for k in study.of_classes(digits.train)]           # real images held back, passed as synthetic
    rest = select(digits.train, torch.cat(rest))
    false = Images(rest.images, (rest.labels + 1) % 10, rest.classes)
    p = {name: trained(arm, digits.test) for name, arm in
         (("real", study.real_arm(few)), ("new", study.mixed_arm(few, [rest])), ("false", study.mixed_arm(few, [false])))}
    rows = table(digits.test, **p)
    assert better(rows.loc["new"]) and worse(rows.loc["false"])


def test_shuffled_labels_fall_to_chance_and_right_ones_do_not():
    """Toy images, for those of one class must not be alike: digits of a class get one label all together."""
    train, judged = toy(400), toy(1000, seed=1)
    arms = study.build_arms(train, (train,) * 5, 150)
    shuffled, real = (100 * (trained(arms[name], judged) == judged.labels.numpy()).mean() for name in ("shuffled labels", "synthetic only"))
    low, high = 100 * stats.binom.interval(0.99, 1000, 1 / 4)[0] / 1000, 100 * stats.binom.interval(0.99, 1000, 1 / 4)[1] / 1000
    assert low < shuffled < high and real > high + 20


def test_a_test_image_among_the_synthetic_ones_is_found(digits):
    synthetic = study.first_of_each_class(digits.train, 10)
    quality.check_no_leak(synthetic.images, digits.validation.images, what="the generator")
    leaked = join(synthetic, select(digits.validation, [17]))
    with pytest.raises(quality.LeakedTest, match="^1 of 101 images of the generator are test images .* image 100, test image 17$"):
        quality.check_no_leak(leaked.images, digits.validation.images, what="the generator")


# ---------------------------------------------------------------- compare
def predicted(rng, difficulty, labels, accuracy, variants=1, seeds=5, shared=0.8):
    """Predictions whose seeds agree on the hard images: `shared` of all outcomes are the image's, the rest chance."""
    shape = (variants, seeds, len(labels))
    right = np.where(rng.random(shape) < shared, difficulty < accuracy, rng.random(shape) < accuracy)
    return np.where(right, labels, (labels + 1 + rng.integers(2, size=shape)) % 3)


def simulated(rng, n=300, **accuracies):
    """Arms real, a, b, c; c has two generators."""
    difficulty, labels = rng.random(n), rng.integers(3, size=n)
    return {arm: predicted(rng, difficulty, labels, accuracies.get(arm, 0.7), variants=1 + (arm == "c"))
            for arm in ("real", "a", "b", "c")}, labels


def test_on_nulls_an_arm_is_found_in_at_most_one_study_of_twenty(monkeypatch):
    monkeypatch.setattr(statistics, "bootstrap_difference", functools.partial(statistics.bootstrap_difference, draws=100))
    rng, studies, found, verdicts, covered = np.random.default_rng(0), 80, 0, 0, []
    for _ in range(studies):
        rows = study.compare(*simulated(rng)).loc[["a", "b", "c"]]
        found += (rows["p"] < 0.05).any()
        verdicts += any(not same(row) for _, row in rows.iterrows())
        covered.append((rows["low"] <= 0) & (rows["high"] >= 0))
    assert max(found, verdicts) / studies <= 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5
    assert np.mean(covered) == pytest.approx(0.95, abs=0.05)


def test_a_planted_gain_and_a_planted_loss_are_found_in_their_arms():
    rows = study.compare(*simulated(np.random.default_rng(1), n=1500, a=0.62, c=0.78))
    assert worse(rows.loc["a"]) and same(rows.loc["b"]) and better(rows.loc["c"])


def test_the_table_holds_what_the_tests_say():
    p, labels = simulated(np.random.default_rng(2), a=0.76, c=0.64)
    rows, right = study.compare(p, labels), {arm: x == labels for arm, x in p.items()}
    assert list(rows.index) == list(p) and list(rows) == ["accuracy", "sd", "n", "difference", "low", "high", "p"]
    assert rows["n"].tolist() == [5, 5, 5, 10]
    for arm in right:
        each = statistics.accuracy(p[arm], labels).ravel()
        assert rows.loc[arm, ["accuracy", "sd"]].tolist() == pytest.approx([each.mean(), np.std(each, ddof=1)])
    both = np.concatenate([right["real"]] * 2)                      # each generator's networks beside the real ones
    expected = statistics.bootstrap_difference(both, right["c"])
    assert rows.loc["c", ["difference", "low", "high"]].tolist() == pytest.approx(expected)
    assert expected[0] == pytest.approx(rows["accuracy"]["c"] - rows["accuracy"]["real"], abs=1e-4)
    raw = [statistics.combined(statistics.mcnemar(right["real"][0], right[arm][0])[0]) for arm in ("a", "b")]
    raw.append(statistics.combined(statistics.mcnemar(both.reshape(10, -1), right["c"].reshape(10, -1))[0]))
    assert rows["p"].tolist()[1:] == pytest.approx(list(statistics.holm(raw))) and rows["p"].tolist()[1:] != pytest.approx(raw)
    assert rows.loc["real", ["difference", "low", "high", "p"]].isna().all()


def test_arms_can_be_compared_with_another_than_real():
    p, labels = simulated(np.random.default_rng(3), a=0.76)
    rows, back = study.compare(p, labels, against="c"), study.compare({"a": p["a"], "c": p["c"]}, labels, "a")
    assert rows.loc["c", ["difference", "p"]].isna().all() and rows["p"].drop("c").notna().all()
    assert rows["difference"]["a"] == pytest.approx(-back["difference"]["c"], abs=1e-4)
    alone = study.compare(p, labels)
    assert rows["difference"]["real"] == pytest.approx(-alone["difference"]["c"], abs=1e-4)
    expected = statistics.combined(statistics.mcnemar(*study.pairs(p["a"] == labels, p["c"] == labels))[0])
    assert back["p"]["c"] == pytest.approx(expected)                 # a single comparison: nothing to correct


def test_the_only_arm_has_no_p_value():
    p, labels = simulated(np.random.default_rng(4))
    rows = study.compare({"real": p["real"]}, labels)
    assert len(rows) == 1 and np.isnan(rows["p"]["real"]) and list(study.words(rows, {"real": 7})["steps"]) == ["7"]


@pytest.mark.parametrize("p, low, high, said", [
    (0.049, 0.1, 3, "raise"), (0.049, -3, -0.1, "lower"), (0.05, 0.1, 3, "do not clearly change"),
    (0.05, -3, -0.1, "do not clearly change"), (0.001, -0.1, 3, "do not clearly change"),
    (0.001, -3, 0.1, "do not clearly change"), (0.001, 0, 3, "do not clearly change"), (np.nan, 1, 3, "do not clearly change")])
def test_a_verdict_needs_both_the_test_and_the_interval(p, low, high, said):
    assert study.verdict({"p": p, "low": low, "high": high}) == said


def test_pairs_are_networks_of_the_same_seed():
    a, b = np.arange(6).reshape(1, 2, 3), 10 * np.arange(18).reshape(3, 2, 3)
    x, y = study.pairs(a, b)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]] * 3 and y.tolist() == b.reshape(6, 3).tolist()
    y, x = study.pairs(b, a)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]] * 3 and y.shape == (6, 3)
    with pytest.raises(ValueError):
        study.pairs(b, np.concatenate([a, a]))                      # two generators beside three: no pairs


def test_the_table_is_told_in_words():
    rows = pd.DataFrame({"accuracy": [70.123, 71.5], "sd": [0.4, 0.666], "n": [5.0, 10.0], "difference": [np.nan, 1.377],
                         "low": [np.nan, -0.5], "high": [np.nan, 3.0], "p": [np.nan, 0.01234]}, index=["real", "mixed"])
    real, mixed = study.words(rows, {"real": 1000, "mixed": 500}).to_dict("records")
    assert mixed == {"arm": "mixed", "steps": "500", "accuracy, %": "71.50", "sd": "0.67", "n": "10",
                     "against real (95 % interval)": "+1.38 (-0.50 to +3.00)", "p after Holm": "0.012"}
    assert real["steps"] == "1,000" and real["p after Holm"] == real["against real (95 % interval)"] == ""


# ---------------------------------------------------------------- how many real images
def test_on_a_straight_line_in_log_count_the_equal_number_is_exact():
    counts = [10, 40, 160, 640]
    accuracies = [50 + 10 * np.log2(n / 10) for n in counts]         # 10 points for each doubling
    for n in (10, 15, 40, 77.7, 320, 640):
        assert study.real_images_equal_to(50 + 10 * np.log2(n / 10), counts, accuracies) == pytest.approx(n)
    assert study.real_images_equal_to(accuracies[-1] + 0.01, counts, accuracies) is None
    assert study.real_images_equal_to(3, counts, accuracies) == 10


def test_a_dip_of_the_curve_is_mended_by_what_fewer_images_reached():
    counts, accuracies = [10, 100, 1000, 10000], [60, 80, 70, 90]
    assert study.real_images_equal_to(75, counts, accuracies) == pytest.approx(10 * 10**0.75)
    assert study.real_images_equal_to(80, counts, accuracies) == pytest.approx(100)
    assert study.real_images_equal_to(85, counts, accuracies) == pytest.approx(1000 * 10**0.5)     # from 80 at 1,000
    assert study.real_images_equal_to(90.1, counts, accuracies) is None
    assert study.real_images_equal_to(60, counts, [60, 60, 60, 60]) == 10


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
    train, generated, first = toy(20), [toy(40, seed=1), toy(40, seed=2)], {}
    arms = study.build_arms(train, generated, 10)
    assert tuple(arms) == ARMS
    for name, arm in arms.items():
        seen.clear()
        study.fit(arm, recipe(steps=10, batch=8, seeds=2), toy(6, seed=3))
        assert len(seen) == len(arm.variants)
        for notes in seen:
            assert len(notes.batches) == (3 if name == "real, equal epochs" else 10)     # 10 * 20 / (20 + 40)
            assert {tuple(x.shape) for x in notes.batches} == {(2, 8, 1, 8, 8)}
            first.setdefault("weights", notes.start)
            assert all(map(torch.equal, notes.start, first["weights"]))
        first[name] = seen[0].batches
    real = torch.cat(first["real"], 1)[:, :20]                       # the first pass, in its order
    assert torch.equal(torch.cat(first["real, equal epochs"], 1)[:, :20], real)
    for name in ("real + noise", "real + retrieval", "real + synthetic"):
        part = torch.cat([x[:, :4] for x in first[name]], 1)[:, :20]  # half of each batch is real
        assert torch.equal(part, real), name
    assert not torch.equal(first["real + flip"][0], first["real"][0])


@pytest.mark.parametrize("steps, real, synthetic, taken", [(1000, 500, 500, 500), (1000, 100, 200, 333), (7, 12, 400, 1)])
def test_equal_epochs_are_the_steps_in_proportion_to_the_images(steps, real, synthetic, taken):
    arms = study.build_arms(toy(real), [toy(synthetic, seed=1)], steps)
    assert arms["real, equal epochs"].steps == taken
    assert all(arm.steps == 0 for name, arm in arms.items() if name != "real, equal epochs")


def test_arms_have_a_variant_for_each_generator():
    train, generated = toy(20), [toy(40, seed=s) for s in (1, 2, 3)]
    arms = study.build_arms(train, generated, 10)
    many = {"real + retrieval", "real + synthetic", "real + shift + synthetic", "synthetic only", "shuffled labels"}
    assert {name: len(arm.variants) for name, arm in arms.items()} == {name: 3 if name in many else 1 for name in ARMS}
    for name in ("real + synthetic", "real + shift + synthetic"):
        assert all(real is train and extra is made for (real, extra), made in zip(arms[name].variants, generated, strict=True))
    assert [images for images, _ in arms["synthetic only"].variants] == generated
    assert {name: arm.augment for name, arm in arms.items() if arm.augment} == {
        "real + flip": "flip", "real + shift": "shift", "real + flip and shift": "flip and shift", "real + shift + synthetic": "shift"}


def rows_of(images):
    return [(x.numpy().tobytes(), int(y)) for x, y in zip(images.images, images.labels, strict=True)]


def test_retrieval_takes_the_nearest_real_training_images_with_their_labels():
    train, generated = toy(40), [toy(30, seed=1), toy(30, seed=2)]
    for made, (real, found) in zip(generated, study.build_arms(train, generated, 10)["real + retrieval"].variants, strict=True):
        assert real is train and len(found) == 30 and set(rows_of(found)) <= set(rows_of(train))
        distance = (made.images[:, None].double() - train.images.double()).square().flatten(2).sum(-1)
        chosen = (made.images.double() - found.images.double()).square().flatten(1).sum(-1)
        assert torch.equal(chosen, distance.min(1).values)


def test_noise_is_a_little_on_the_real_images_and_keeps_their_labels():
    train = toy(40)
    (real, noisy), = study.build_arms(train, [train], 10)["real + noise"].variants
    difference = (noisy.images.double() - train.images.double()).std()
    assert real is train and torch.equal(noisy.labels, train.labels) and 10 < difference < 15        # 0.1 of 127.5 levels


def test_shuffled_labels_keep_images_and_counts_and_follow_the_seed():
    made = [toy(0, seed=s, counts=[20, 5, 10, 1]) for s in (1, 2)]
    shuffled = {seed: [v for v, _ in study.build_arms(toy(8), made, 10, seed)["shuffled labels"].variants] for seed in (0, 1)}
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
    assert len(study.first_of_each_class(images, 0)) == 0 and len(study.first_of_each_class(images, 99)) == 20
    some = select(images, images.labels != 2)
    assert [int(images.labels[k[0]]) for k in study.of_classes(images)] == [0, 1, 2, 3]
    assert set(study.first_of_each_class(some, 1).labels.tolist()) == {0, 1, 3}


# ---------------------------------------------------------------- training an arm
def test_the_same_seed_gives_the_same_networks_and_another_others():
    arm, watched = study.mixed_arm(toy(60), [toy(40, seed=1), toy(40, seed=2)]), toy(50, seed=3)
    a, b, other = (study.fit(arm, recipe(steps=20, seed=s, seeds=2), watched) for s in (0, 0, 7))
    for x, y, z in zip(a.models, b.models, other.models, strict=True):
        assert torch.equal(x.weights[0], y.weights[0]) and not torch.equal(x.weights[0], z.weights[0])
    assert a.validation.tolist() == b.validation.tolist() and len(a.models) == 2 and a.validation.shape == (4,)
    assert [step for step, _ in a.curve] == list(range(1, 21)) and all(len(v) == 4 for _, v in a.curve)
    assert all(np.array_equal(x, y) for (_, x), (_, y) in zip(a.curve, b.curve, strict=True))


def test_a_member_does_not_depend_on_how_many_there_are():
    arm, watched = study.mixed_arm(toy(60), [toy(40, seed=1)]), toy(50, seed=3)
    many, one = (study.fit(arm, recipe(steps=30, seeds=n, seed=s), watched) for n, s in ((4, 0), (1, 2)))
    # the same arithmetic in another batched product: float32 rounding over 30 steps
    torch.testing.assert_close(many.models[0].weights[0][2], one.models[0].weights[0][0], rtol=1e-3, atol=1e-4)
    assert many.validation[2] == pytest.approx(one.validation[0], abs=2.1)                  # one of 50 images


def test_the_accuracies_of_a_fit_are_those_of_the_validation_images(monkeypatch):
    monkeypatch.setattr(study, "WATCHED", 10)
    arm, watched = study.mixed_arm(toy(60), [toy(40, seed=1), toy(40, seed=2)]), toy(50, seed=3)
    f = study.fit(arm, recipe(steps=40, seeds=3), watched)
    p = np.concatenate([classifiers.predict(m, watched.images).numpy() for m in f.models])    # (variants * seeds, N)
    assert f.validation == pytest.approx(statistics.accuracy(p, watched.labels.numpy()))
    assert f.curve[-1][0] == 40 and f.curve[-1][1] == pytest.approx(statistics.accuracy(p[:, :10], watched.labels[:10].numpy()))
    assert len(f.curve) == 20


def test_the_recipe_reaches_the_training(monkeypatch):
    calls = []

    def spy(model, images, labels, **options):
        calls.append(options)
        yield {"done": options["steps"]}

    monkeypatch.setattr(study.classifiers, "train_classifier", spy)
    r = recipe(steps=90, batch=9, lr=0.5, weight_decay=0.25, optimizer="sgd", synthetic_fraction=0.3, seed=4)
    made, seen = toy(8, seed=1), []
    study.fit(study.mixed_arm(toy(8), [made], augment="shift"), r, toy(8), lambda records, total: seen.append(total) or records)
    study.fit(study.real_arm(toy(8), steps=30), r, toy(8), lambda records, total: seen.append(total) or records)
    for options, steps in zip(calls, (90, 30), strict=True):
        assert {k: options[k] for k in ("steps", "batch", "lr", "weight_decay", "optimizer", "synthetic_fraction", "seed")} == {
            "steps": steps, "batch": 9, "lr": 0.5, "weight_decay": 0.25, "optimizer": "sgd", "synthetic_fraction": 0.3, "seed": 4}
    assert calls[0]["synthetic"][0] is made.images and calls[0]["synthetic"][1] is made.labels and calls[1]["synthetic"] is None
    assert calls[0]["augment"].__name__ == "shift" and calls[1]["augment"] is None and seen == [90, 30]


def test_the_choice_is_the_best_on_validation_images_whatever_is_true_elsewhere():
    train, watched = toy(200, signal=40), toy(100, seed=3, signal=40)
    turned = [Images(x.images, (x.labels + 1) % 4, x.classes) for x in (train, watched)]
    candidates = {"right": (study.real_arm(train), recipe()), "turned": (study.real_arm(turned[0]), recipe())}
    name, fits, scores = study.choose(candidates, watched)
    assert name == "right" and set(fits) == set(scores) == {"right", "turned"}
    assert scores == {n: pytest.approx(f.validation.mean()) for n, f in fits.items()} and scores["right"] > 80
    assert study.choose(candidates, turned[1])[0] == "turned"


def test_of_equals_the_first_is_chosen_and_by_its_mean(monkeypatch):
    monkeypatch.setattr(study, "fit", lambda arm, recipe, validation, track: study.Fit([], [], np.array(arm)))
    assert study.choose({"a": ([1, 2], 0), "b": ([3, 1], 0), "c": ([2, 2], 0)}, None)[::2] == ("b", {"a": 1.5, "b": 2, "c": 2})
    assert study.choose({"low": ([50, 50, 51], 0), "peak": ([0, 0, 99], 0)}, None)[0] == "low"


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
    assert study.settings(alike) == {"the only one": [0, 1, 2]}
    assert study.settings(alike[:1]) == {"the only one": [0]}


def test_words_name_what_sets_settings_apart_and_repeats_are_grouped():
    four = generators({}, {"guidance": 1.0}, {"seed": 1}, {"guidance": 1.0, "seed": 1})
    assert study.settings(four) == {"guidance 2.0": [0, 2], "guidance 1.0": [1, 3]}
    two = study.settings(generators({"schedule": "linear", "images_per_class": 30}, {"channel_mult": [1, 2, 2]}))
    assert sorted(two.values()) == [[0], [1]]
    assert [set(w.replace("[1, 2", "[1 2").replace("2, 2]", "2 2]").split(", ")) for w in two] == [
        {"schedule linear", "images_per_class 30", "channel_mult [1 2]"}, {"schedule cosine", "images_per_class 100", "channel_mult [1 2 2]"}]


def test_another_batch_of_the_training_is_another_setting():
    assert study.settings(generators({}, {"batch": 64})) == {"batch 32": [0], "batch 64": [1]}


@pytest.mark.parametrize("name, other", [("dataset", "cifar10"), ("data_dir", "x"), ("size", 16), ("canvas", 0), ("per_class", 20),
                                         ("data_seed", 1)])
def test_generators_of_different_data_are_refused(name, other):
    with pytest.raises(InputError, match=f"^generate_runs: {name} is .*: expected generators that learned from the same images"):
        study.settings(generators({}, {name: other}))


def test_unequal_numbers_of_repeats_are_refused():
    with pytest.raises(InputError, match="^generate_runs: guidance 2.0: 2; guidance 1.0: 1: expected as many repeats"):
        study.settings(generators({}, {"seed": 1}, {"guidance": 1.0}))


def test_a_recipe_and_an_arm_cannot_be_changed_in_passing():
    for frozen, field in ((recipe(), "lr"), (study.real_arm(toy(4)), "steps")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, field, 3)
