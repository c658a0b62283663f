"""Classifiers: members that do not know of each other, and training that is what its parameters say."""
import pytest
import torch
import torch.nn.functional as F

from lib import InputError
from lib.data.augmentations import augmentation
from lib.data.images import Images, to_float
from lib.diffusion import devices
from lib.engine.parameters import OPTIMIZERS as ACCEPTED
from lib.seeding import PassOrder
from lib.study.classifiers import (
    CLIP,
    CNN,
    MLP,
    OPTIMIZERS,
    Airbench,
    Batches,
    StrongMLP,
    Whitened,
    faster_precision,
    kind,
    predict,
    train_classifier,
)


def toy(n=40):
    """Two classes of 8x8 images that differ in brightness."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 2
    images = (torch.randint(0, 100, (n, 1, 8, 8), generator=g) + 150 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return Images(images, labels, ("dark", "light"))


def fit(model, steps=150, batch=10, lr=3e-3, seed=0, synthetic=None, synthetic_fraction=0.5, **more):
    """Train on the toy images; the model's predictions of these, (members, 40), and their labels."""
    images = toy()
    batches = Batches([images], synthetic, batch=batch, synthetic_fraction=synthetic_fraction, members=model.members, seed=seed)
    for _ in train_classifier(model, batches, steps=steps, lr=lr, **more):
        pass
    return torch.from_numpy(predict(model, [images.images])[0]), images.labels


@pytest.mark.parametrize("make", [lambda m: MLP((1, 8, 8), 2, (16,), m), lambda m: CNN((1, 8, 8), 2, (8, 8), m)])
def test_a_classifier_learns_two_classes(make):
    predictions, labels = fit(make(3))
    assert predictions.shape == (3, 40)
    assert (predictions == labels).float().mean() > 0.95


def test_a_member_of_a_stack_is_the_network_trained_alone():
    together = MLP((1, 8, 8), 2, (16,), members=3, seed=5)
    alone = MLP((1, 8, 8), 2, (16,), members=1, seed=6)                     # member 1 of the three
    assert torch.equal(together.weights[0][1], alone.weights[0][0])
    fit(together, steps=40, seed=5)
    fit(alone, steps=40, seed=6)
    # the same arithmetic in another batched product: float32 rounding over 40 steps
    torch.testing.assert_close(together.weights[0][1], alone.weights[0][0], rtol=1e-3, atol=1e-4)


def test_the_synthetic_share_of_a_batch_is_what_was_asked():
    seen = []

    class Spy(MLP):
        def forward(self, x):
            seen.append((x == 1).flatten(2).all(-1).sum(1).tolist())
            return super().forward(x)

    white = [Images(torch.full((6, 1, 8, 8), 255, dtype=torch.uint8), torch.zeros(6, dtype=torch.long), ("dark", "light"))]
    fit(Spy((1, 8, 8), 2, (4,), members=2), steps=5, synthetic=white, synthetic_fraction=0.3)
    assert seen[:5] == [[3, 3]] * 5


def test_an_augmentation_changes_every_batch_and_each_step_otherwise():
    seen = []

    def spy(x, generator):
        seen.append((tuple(x.shape), torch.rand(1, generator=generator).item()))
        return x

    plain, changed = MLP((1, 8, 8), 2, (4,), members=2), MLP((1, 8, 8), 2, (4,), members=2)
    fit(plain, steps=5)
    fit(changed, steps=5, augment=spy)
    assert [shape for shape, _ in seen] == [(2, 10, 1, 8, 8)] * 5 and len({draw for _, draw in seen}) == 5
    assert torch.equal(plain.weights[0], changed.weights[0])
    fit(changed, steps=5, augment=lambda x, generator: -x)
    assert not torch.equal(plain.weights[0], changed.weights[0])


def test_initial_weights_do_not_depend_on_the_number_of_members():
    a, b = CNN((3, 8, 8), 4, (8,), members=2, seed=1), CNN((3, 8, 8), 4, (8,), members=1, seed=2)
    assert torch.equal(a.nets[1][0].weight, b.nets[0][0].weight)


def test_the_accepted_optimisers_are_those_that_there_are():
    assert set(OPTIMIZERS) == set(ACCEPTED)


def test_sgd_is_the_textbook_loop_at_a_constant_rate():
    images, labels = toy().images, toy().labels
    model, by_hand = MLP((1, 8, 8), 2, (16,), seed=3), MLP((1, 8, 8), 2, (16,), seed=3)
    fit(model, steps=20, lr=0.05, seed=3, optimizer="sgd")
    order = PassOrder(len(images), 10, 3)
    for step in range(20):
        loss = F.cross_entropy(by_hand(to_float(images[order(step)])[None])[0], labels[order(step)])
        for p, gradient in zip(by_hand.parameters(), torch.autograd.grad(loss, list(by_hand.parameters())), strict=True):
            p.data -= 0.05 * gradient
    torch.testing.assert_close(model.weights[0], by_hand.weights[0], rtol=1e-4, atol=1e-5)     # float32, fused


def test_real_and_synthetic_images_of_one_number_do_not_go_through_the_batches_in_pairs():
    """The same set as both parts: in one order every batch would hold each of its images twice."""
    seen = []

    class Spy(MLP):
        def forward(self, x):
            seen.extend(len({image.numpy().tobytes() for image in batch}) for batch in x.detach())
            return super().forward(x)

    fit(Spy((1, 8, 8), 2, (4,)), steps=8, lr=1e-3, synthetic=[toy()])
    assert len(toy().images.unique(dim=0)) == 40 and sum(seen) / len(seen) > 8


@pytest.mark.parametrize("make", [lambda: CNN((1, 8, 8), 2, (8, 8), 2), lambda: StrongMLP((1, 8, 8), 2, (16, 8), 2)])
def test_looking_at_predictions_in_the_middle_of_a_training_changes_nothing(make):
    images = toy()
    watched, left_alone = make(), make()
    for model in (watched, left_alone):
        for _ in train_classifier(model, Batches([images], batch=10, members=2), steps=30, lr=3e-3, log_every=5):
            if model is watched:
                predict(model, [255 - images.images])
                assert model.training
    for name, value in watched.state_dict().items():
        assert torch.equal(value, left_alone.state_dict()[name]), name


def test_a_strong_mlp_normalises_each_member_over_its_own_batch():
    model = StrongMLP((1, 8, 8), 2, (6,), members=2)
    x = torch.randn(2, 50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x[1] = 3 * x[1] + 5
    hidden = torch.baddbmm(model.biases[0], x.flatten(2), model.weights[0])
    normal = (hidden - hidden.mean(1, keepdim=True)) / (hidden.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    model.dropout = 0.0
    torch.testing.assert_close(model.between(hidden, 0), normal.relu(), rtol=1e-4, atol=1e-4)


def test_dropout_is_a_function_of_the_seed():
    nets = [StrongMLP((1, 8, 8), 2, (16,)) for _ in range(3)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        torch.manual_seed(hash(id(net)) % 1000)
        fit(net, steps=10, batch=40, seed=seed)
    assert torch.equal(nets[0].weights[0], nets[1].weights[0]) and not torch.equal(nets[0].weights[0], nets[2].weights[0])


def test_each_member_sees_the_images_of_its_replicate_in_an_order_of_its_own():
    dark, light = toy(6), toy(9)
    dark = Images(dark.images * 0, dark.labels, dark.classes)
    batches = Batches([dark, light], batch=6, members=4, seed=5)                # two members of each replicate
    x, y = batches(0)
    assert x.shape == (4, 6, 1, 8, 8) and y.shape == (4, 6)
    assert [int(images.max()) > 0 for images in x] == [False, False, True, True]
    for member, (own, labels) in enumerate(zip(x, y, strict=True)):
        images = (dark, dark, light, light)[member]
        order = PassOrder(len(images), 6, 5 + member)(0)
        assert torch.equal(own, images.images[order]) and torch.equal(labels, images.labels[order])


def test_a_prediction_is_of_the_replicates_own_images():
    model = MLP((1, 8, 8), 2, (5,), members=4)
    few, many = toy(7).images, toy(12).images
    first, second = predict(model, [few, many])
    assert first.shape == (2, 7) and second.shape == (2, 12)
    assert (first == predict(model, [few])[0][:2]).all() and (second == predict(model, [many])[0][2:]).all()


# ---------------------------------------------------------------- large networks
def test_a_cycle_of_the_learning_rate_rises_in_a_fifth_and_falls_to_almost_nothing():
    make, rate = OPTIMIZERS["nesterov"]
    rates = [rate(done / 100) for done in range(101)]
    assert rates[0] == 0 and rates[20] == 1 == max(rates) and rates[100] == 0
    assert rates[:21] == sorted(rates[:21]) and rates[20:] == sorted(rates[20:], reverse=True)


def test_nesterov_is_the_plain_formula_with_gradients_that_are_shortened():
    images, labels = toy().images, toy().labels
    model, by_hand = (Airbench((1, 8, 8), 2, (4, 4), seed=3) for _ in "ab")
    fit(model, steps=6, lr=0.3, seed=3, optimizer="nesterov", weight_decay=0.01, label_smoothing=0.1)
    order, parameters = PassOrder(len(images), 10, 3), list(by_hand.parameters())
    speed, norms = [torch.zeros_like(p) for p in parameters], []
    for step in range(6):
        index, done = order(step), (step + 1) / 7
        hard = F.one_hot(labels[index], 2).float() * 0.9 + 0.05
        loss = -(hard * by_hand(to_float(images[index])[None])[0].log_softmax(1)).sum(1).mean()
        gradients = torch.autograd.grad(loss, parameters)
        norms.append(float(torch.sqrt(sum(g.square().sum() for g in gradients))))
        for p, v, gradient in zip(parameters, speed, gradients, strict=True):
            g = gradient * min(1.0, CLIP / norms[-1]) + 0.01 * p.data
            v.mul_(0.9).add_(g)
            p.data -= 0.3 * min(done / 0.2, (1 - done) / 0.8, 1.0) * (g + 0.9 * v)
    for a, b in zip(model.parameters(), parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_several_members_are_refused_where_one_norm_would_tie_them_together():
    with pytest.raises(InputError, match="^optimizer='nesterov' with 2 members: expected one"):
        fit(MLP((1, 8, 8), 2, (4,), members=2), steps=1, optimizer="nesterov")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 20, 12)])
def test_airbench_reads_images_of_any_size_and_learns(shape):
    model = Airbench(shape, 5, (8, 8, 8), members=2)
    logits = model(torch.randn(2, 3, *shape))
    assert logits.shape == (2, 3, 5) and logits.isfinite().all()
    if shape == (1, 8, 8):
        one = Airbench(shape, 2, (8, 8))
        predictions, labels = fit(one, optimizer="nesterov", lr=0.1, label_smoothing=0.1)
        assert (predictions == labels).float().mean() > 0.95


@pytest.mark.parametrize("channels", [1, 3])
def test_the_fixed_layer_keeps_all_of_a_patch_and_brings_each_part_to_variance_1(channels):
    layer = Whitened(channels)
    basis = layer.filters.flatten(1)                                                # a row for each filter
    torch.testing.assert_close(basis @ basis.T, torch.eye(4 * channels), atol=1e-6, rtol=0)
    x = torch.randn(64, channels, 9, 9).cumsum(3) * 0.3 + 0.2                       # neighbours are alike
    out = layer(x)
    assert out.shape == (64, 8 * channels, 8, 8) and not list(layer.parameters())
    torch.testing.assert_close(out[:, :4 * channels], -out[:, 4 * channels:])
    torch.testing.assert_close(out.var((0, 2, 3)), torch.ones(8 * channels), atol=0.01, rtol=0)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(8 * channels), atol=1e-4, rtol=0)


def test_the_first_filters_of_airbench_pass_channels_on():
    layers = [layer for layer in Airbench((3, 32, 32), 2, (32, 8)).nets[0] if isinstance(layer, torch.nn.Conv2d)]
    x = torch.randn(1, 24, 5, 5)
    torch.testing.assert_close(layers[0](x)[:, :24], x)
    assert [tuple(layer.weight.shape[:2]) for layer in layers] == [(32, 24), (32, 32), (8, 32), (8, 8)]
    assert (layers[2].weight[:, :8].diagonal()[1, 1] == 1).all()


def trial(monkeypatch, seconds, off=0.0, loss=1.0):
    """faster_precision where an update takes so many seconds in {precision}, and bf16's gradient is off by that part."""
    def measured(precision, gradient):
        vector = torch.tensor([3.0, 4.0]) * (1 + (off if precision == "bf16" else 0))
        return (loss if precision == "bf16" else 1.0, vector), seconds[precision]

    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    monkeypatch.setattr(devices, "trial", measured)
    return lambda updates: faster_precision(Airbench((1, 8, 8), 2, (4,)), None, updates)


def test_bfloat16_is_taken_where_it_is_faster_worth_a_trial_and_right(monkeypatch):
    assert trial(monkeypatch, {"fp32": 2, "bf16": 1})(1000)[0] == "bf16"
    assert trial(monkeypatch, {"fp32": 2, "bf16": 1})(10) == ("fp32", {"fp32": 2})
    assert trial(monkeypatch, {"fp32": 2, "bf16": 1.9})(1000)[0] == "fp32"
    for wrong in ({"off": 0.9}, {"off": float("nan")}, {"loss": float("nan")}, {"loss": 1.1}):
        taken, tried = trial(monkeypatch, {"fp32": 2, "bf16": 1}, **wrong)(1000)
        assert taken == "fp32" and "off by" in tried["bf16"]


def test_a_small_network_and_a_processor_without_bfloat16_are_not_tried(monkeypatch):
    monkeypatch.setattr(devices, "trial", lambda *given: 1 / 0)
    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    for small in (CNN((1, 8, 8), 2, (4,)), MLP((1, 8, 8), 2, (4,))):
        assert faster_precision(small, None, 10**9) == ("fp32", {})
    monkeypatch.setattr(devices, "has_bfloat16", lambda: False)
    assert faster_precision(Airbench((1, 8, 8), 2, (4,)), None, 10**9) == ("fp32", {})


def test_a_trial_in_bfloat16_is_close_to_float32_and_trains(monkeypatch):
    """The real thing: eager autocast of the large network, on a processor that need not be fast at it."""
    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    monkeypatch.setattr(devices, "FASTER", 0.0)
    batches = Batches([toy()], batch=20)
    assert faster_precision(Airbench((1, 8, 8), 2, (8, 8)), batches, 10**9)[0] == "bf16"
    predictions, labels = fit(Airbench((1, 8, 8), 2, (8, 8)), optimizer="nesterov", lr=0.1, precision="bf16")
    assert (predictions == labels).float().mean() > 0.95


# ---------------------------------------------------------------- standard classifiers, and the user's own
@pytest.mark.parametrize("shape, first", [((3, 32, 32), (3, 3)), ((1, 16, 16), (3, 3)), ((1, 64, 64), (7, 7))])
def test_resnet18_is_torchvisions_with_the_first_layer_that_fits_the_images(shape, first):
    model = kind("resnet18")(shape, 5, [256])
    assert model.nets[0].conv1.kernel_size == first and model.nets[0].conv1.in_channels == shape[0]
    assert sum(p.numel() for p in model.parameters()) > 11e6
    model.eval()
    assert model(torch.zeros(1, 2, *shape)).shape == (1, 2, 5)


OWN = """
import torch
def make(image_shape, num_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(image_shape[0] * image_shape[1] * image_shape[2], num_classes))
def no_module(image_shape, num_classes):
    return 3
def wrong_size(image_shape, num_classes):
    return make(image_shape, num_classes + 1)
def fails(image_shape, num_classes):
    return torch.nn.Conv2d(99, 1, 1)
value = 3
"""


def test_a_function_of_the_users_makes_the_classifier(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    make = kind(f"{tmp_path}/own.py:make")
    a, b = make((1, 8, 8), 2, [9], members=2, seed=4), make((1, 8, 8), 2, seed=5)
    assert make.large and torch.equal(a.nets[1][1].weight, b.nets[0][1].weight) and b.nets[0].training
    predictions, labels = fit(b, optimizer="nesterov", lr=0.05)
    assert (predictions == labels).float().mean() > 0.95


@pytest.mark.parametrize("function, words", [
    ("no_module", "it gives int: expected a torch.nn.Module"), ("wrong_size", r"gives \(2, 3\) for 2 images: expected \(2, 2\)"),
    ("fails", r"its network fails on images of shape \(2, 1, 8, 8\)"), ("value", "has no function value"), ("other", "has no function other")])
def test_what_is_no_classifier_is_refused_in_a_sentence(tmp_path, function, words):
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(InputError, match=f"^classifier='.*own.py:{function}': .*{words}") as error:
        kind(f"{tmp_path}/own.py:{function}")((1, 8, 8), 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content, words", [(None, "FileNotFoundError"), ("def", "SyntaxError"), ("1 / 0", "ZeroDivisionError")])
def test_a_file_that_is_no_python_is_refused_in_a_sentence(tmp_path, content, words):
    if content:
        (tmp_path / "own.py").write_text(content)
    with pytest.raises(InputError, match=f"own.py can't be used \\({words}"):
        kind(f"{tmp_path}/own.py:make")


@pytest.mark.parametrize("name", ["mixup", "flip and cutmix"])
def test_mixed_labels_train(name):
    change, mixture = augmentation(name)
    predictions, labels = fit(MLP((1, 8, 8), 2, (16,), members=2), steps=300, augment=change, mixture=mixture)
    assert (predictions == labels).float().mean() > 0.9
