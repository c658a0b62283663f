import copy
import json

import pytest
import torch

from lib import InputError
from lib.diffusion.checkpoints import load_model, load_tensors, save_model
from lib.diffusion.optimizers import adam
from lib.diffusion.process import denoising_loss
from lib.diffusion.samplers import ImageNoise, sample
from lib.diffusion.schedules import from_betas, make_schedule
from lib.diffusion.training import COOLDOWN, Diverged, Draws, ema_decay, parts_of, train_ddpm, update_ema, warmup_cosine
from lib.diffusion.unet import UNet
from lib.seeding import PassOrder

S = make_schedule("cosine", 100)


def toy(n=40):
    """Two classes of 8x8 images that differ in brightness."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 2
    images = (torch.randint(0, 100, (n, 1, 8, 8), generator=g) + 150 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return images, labels


def net(seed=0, dropout=0.1):
    torch.manual_seed(seed)
    return UNet(image_channels=1, image_size=8, num_classes=2, channels=8, channel_mult=(1, 2), num_res_blocks=1,
                attn_resolutions=(), dropout=dropout)


def train(model, steps=30, stop=None, **more):
    images, labels = toy()
    records = []
    options = {"steps": steps, "batch": 16, "lr": 2e-3, "warmup_steps": 5, "log_every": 5} | more
    for record in train_ddpm(model, S, images, labels, **options):
        records.append(record)
        if record["done"] == stop:
            break
    return records


def test_training_lowers_the_loss_from_1():
    records = train(net(), steps=120)
    assert records[0]["loss"] < 1.2
    assert records[-1]["loss"] < 0.6 * records[0]["loss"]
    assert records[-1]["images"] == 120 * 16


def test_ten_plain_lines_leave_the_same_weights():
    (images, labels), network, lr, steps, batch = toy(), net(), 2e-3, 30, 16
    draws, average = Draws(network, S, images, labels, batch=batch), copy.deepcopy(network)
    optimizer = adam(network.parameters(), lr)
    for step in range(steps):
        x0, y, t, eps = draws(step)
        loss = denoising_loss(network, S, x0, y, t, eps, "v").mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = lr * warmup_cosine(step, steps, warmup=5)
        optimizer.step()
        update_ema(average, network, ema_decay(step, batch, halflife_images=4400))
    trained = net()
    train(trained, steps=steps, target="v")
    assert all(torch.equal(a, b) for a, b in zip(average.parameters(), trained.parameters(), strict=True))


def test_the_averaged_weights_are_what_training_leaves():
    model = net()
    raw = {}
    images, labels = toy()
    for _ in train_ddpm(model, S, images, labels, steps=10, batch=16, lr=1e-2, warmup_steps=1, log_every=1):
        raw = {n: p.detach().clone() for n, p in model.named_parameters()}
    assert any(not torch.equal(raw[n], p) for n, p in model.named_parameters())
    assert not model.training


def test_ema_halves_in_its_halflife_of_images():
    assert ema_decay(10**6, 32, 3200) ** 100 == pytest.approx(0.5)
    assert ema_decay(0, 32, 3200) == 0.1                       # early on, the average is short


def test_learning_rate_rises_in_a_line_and_falls_to_0():
    assert warmup_cosine(0, 1000, 10) == pytest.approx(0.1)
    assert warmup_cosine(500, 1000, 10) == pytest.approx(0.5)
    assert warmup_cosine(999, 1000, 10) < 1e-5


# ---------------------------------------------------------------- rungs
RUNGS = 160, 480, 800           # images, 10, 30 and 50 batches of 16


def test_each_rung_has_a_trunk_and_a_cool_down_that_add_up_to_its_name():
    parts = parts_of(steps=1, batch=64, rungs=(100_000, 300_000, 1_000_000), warmup_steps=200, ema_halflife_images=50_000)
    ends = {part.rung: part.last * 64 for part in parts if part.rung}
    assert ends == {100_000: 99_968, 300_000: 300_032, 1_000_000: 1_000_000}
    for trunk, down in zip(parts[::2], parts[1::2], strict=True):
        assert trunk.last == down.first and len(down) == pytest.approx(COOLDOWN * down.last, abs=1)
        assert (trunk.rate(0), trunk.rate(199), trunk.rate(trunk.last)) == (1 / 200, 1, 1)
        rates = [down.rate(step) for step in range(down.first, down.last)]
        assert rates[0] == 1 and rates == sorted(rates, reverse=True) and 0 < rates[-1] < 0.01
        assert trunk.halflife == 50_000 and down.halflife == pytest.approx(min(50_000, len(down) * 6.4))
    assert [part.first for part in parts[2::2]] == [part.last for part in parts[:-2:2]]       # the trunk is one
    assert sum(map(len, parts)) == pytest.approx((1_000_000 + COOLDOWN * 400_000) / 64, abs=2)


@pytest.mark.parametrize("rungs", [(300, 160), (160, 160), (8,), (0, 160), (160, 170)])
def test_rungs_that_do_not_rise_by_a_batch_are_refused(rungs):
    with pytest.raises(InputError, match=r"rungs=\[.*\]: expected rising numbers of images, each at least batch=16"):
        parts_of(steps=1, batch=16, rungs=rungs)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_rung_is_what_a_training_to_it_alone_leaves(tmp_path, optimizer):
    files, last = {rung: tmp_path / f"{rung}" for rung in RUNGS}, net()
    records = train(last, optimizer=optimizer, rungs=files, log_every=4)
    for rung in RUNGS:
        train(net(), optimizer=optimizer, rungs={rung: tmp_path / "alone"})
        assert files[rung].read_bytes() == (tmp_path / "alone").read_bytes()
        about = json.loads(load_tensors(files[rung])[1]["training"])
        assert (about["rung"], about["images"], about["optimizer"]) == (rung, rung, optimizer)
    weights = load_model(files[RUNGS[-1]])[0].state_dict()
    assert all(torch.equal(weights[name], p) for name, p in last.state_dict().items())
    assert len({file.read_bytes() for file in files.values()}) == len(RUNGS)
    assert [(r["done"], r["images"]) for r in records if r["rung"] == 480][-1] == (8 + 2 + 16 + 6, 480)
    assert records[-1]["done"] == 8 + 2 + 16 + 6 + 16 + 10 and records[-1]["images"] == 800


@pytest.mark.parametrize("target", ["x0", "v"])
@pytest.mark.parametrize("loss_weight", ["simple", "min-snr", "vlb"])
def test_every_target_and_weight_can_be_learned(target, loss_weight):
    records = train(net(), steps=60, target=target, loss_weight=loss_weight)
    assert records[-1]["loss"] < 0.85 * records[0]["loss"]


def test_the_history_tells_the_unweighted_error_of_each_part_of_the_schedule():
    records = train(net(), steps=60, loss_weight="min-snr")
    parts = [[r[f"error_{k}"] for k in range(10)] for r in records]
    # 5 steps of 16 stratified draws: each tenth got at least one. Little noise is hard to see, much noise easy.
    assert all(e is not None for row in parts for e in row)
    assert parts[-1][0] > parts[-1][9]
    plain = train(net(), steps=5)[0]
    assert sum(plain[f"error_{k}"] for k in range(10)) / 10 == pytest.approx(plain["loss"], rel=0.15)


def test_a_checkpoint_carries_schedule_and_target_and_a_sampler_refuses_others(tmp_path):
    model, own = net(), from_betas("my own", torch.linspace(0.01, 0.2, 30))
    images, labels = toy()
    list(train_ddpm(model, own, images, labels, steps=3, batch=4, lr=1e-3, target="v"))
    save_model(tmp_path / "model.safetensors", model)
    loaded, schedule, target = load_model(tmp_path / "model.safetensors")
    assert (schedule.name, target) == ("my own", "v") and torch.equal(schedule.betas, own.betas)
    noise = ImageNoise(0, range(2), (1, 8, 8))
    sample(loaded, schedule, torch.tensor([0, 1]), noise, target=target, steps=3)
    for other, told in ((S, "v"), (own, "eps")):
        with pytest.raises(InputError, match="the network was trained with schedule 'my own', T=30 and target 'v'"):
            sample(loaded, other, torch.tensor([0, 1]), noise, target=told, steps=3)


@pytest.mark.parametrize("options, words", [
    ({"target": "noise"}, "target='noise': expected one of 'eps', 'x0', 'v'"),
    ({"loss_weight": "snr"}, "loss_weight='snr': expected one of 'simple', 'min-snr', 'vlb'")])
def test_unknown_names_are_refused_before_any_step(options, words):
    with pytest.raises(InputError, match=words):
        train(net(), **options)


@pytest.mark.parametrize("bad", [-1, 2])
def test_a_label_outside_the_classes_is_refused(bad):
    images, labels = toy()
    labels[3] = bad
    with pytest.raises(InputError, match="expected 0 to 1"):
        next(train_ddpm(net(), S, images, labels, steps=3, batch=4, lr=1e-3))


def test_every_image_is_seen_once_in_a_pass_and_any_step_can_be_asked_first():
    order = PassOrder(10, 4, seed=3)
    batches = torch.cat([order(step) for step in range(10)])
    assert sorted(batches[:10].tolist()) == sorted(batches[10:20].tolist()) == list(range(10))
    assert batches[:10].tolist() != batches[10:20].tolist()
    assert torch.equal(PassOrder(10, 4, seed=3)(7), batches[28:32])


def test_a_batch_may_be_larger_than_the_data():
    drawn = PassOrder(3, 7, seed=0)(0).tolist()
    assert sorted(drawn[:3]) == sorted(drawn[3:6]) == [0, 1, 2] and len(drawn) == 7


def test_a_loss_that_is_not_finite_stops_with_step_and_learning_rate():
    with pytest.raises(Diverged, match=r"not finite by step \d+ \(lr 1e\+30\)"):
        train_images, labels = toy()
        list(train_ddpm(net(), S, train_images, labels, steps=30, batch=16, lr=1e30, warmup_steps=0, log_every=1))


# ---------------------------------------------------------------- how it is computed does not change what is learned
def weights_after(steps=10, model=None, **more):
    model = model or net(dropout=0.0)
    records = train(model, steps=steps, **more)
    return torch.cat([p.detach().flatten() for p in model.parameters()]), records


@pytest.mark.parametrize("micro_batch", [8, 5])
def test_a_batch_in_parts_gives_the_same_weights(micro_batch):
    whole, parts = weights_after()[0], weights_after(micro_batch=micro_batch)[0]
    torch.testing.assert_close(parts, whole, rtol=0, atol=2e-5)      # float32 sums in another order; lr is 2e-3
    assert not torch.equal(parts, whole)                             # the parts were really made


def test_where_memory_is_too_small_the_batch_is_halved_and_nothing_else_changes():
    class Small(UNet):
        def forward(self, x, t, y):
            if len(x) > 6:
                raise torch.OutOfMemoryError("no memory for more than 6 images")
            return super().forward(x, t, y)

    small = net(dropout=0.0)
    small.__class__ = Small
    with pytest.warns(UserWarning, match="4 images at once from here on"):
        halved = weights_after(model=small)[0]
    torch.testing.assert_close(halved, weights_after()[0], rtol=0, atol=2e-5)


def test_one_image_that_does_not_fit_is_an_error():
    class Tiny(UNet):
        def forward(self, x, t, y):
            raise torch.OutOfMemoryError("no memory")

    model = net()
    model.__class__ = Tiny
    with pytest.warns(UserWarning), pytest.raises(torch.OutOfMemoryError):
        train(model, steps=1)


@pytest.mark.slow
def test_bfloat16_learns_what_float32_learns():
    exact, rough = (weights_after(steps=40, precision=p)[1][-1]["loss"] for p in ("fp32", "bf16"))
    assert rough != exact and rough == pytest.approx(exact, rel=0.02)       # bf16 has 8 bits: 0.4 % a number


def test_a_flipped_training_sees_the_images_and_their_mirror_images():
    images, labels = toy()
    flipped, plain = (Draws(net(), S, images, labels, batch=16, flip=flip) for flip in (True, False))
    mirrored = 0
    for step in range(20):
        (a, *others), (b, *same_others) = flipped(step), plain(step)
        assert all(torch.equal(one, other) for one, other in zip(others, same_others, strict=True))
        same = (a == b).flatten(1).all(1)
        assert torch.equal(a[~same], b[~same].flip(3))
        mirrored += int((~same).sum())
    assert 120 < mirrored < 200                                             # of 320; 3.9 standard deviations are 35


@pytest.mark.parametrize("options, words", [
    ({"precision": "fp16"}, "precision='fp16': expected one of 'auto', 'fp32', 'bf16'"),
    ({"compiled": "yes"}, "compiled='yes': expected one of 'auto', 'off', 'default'")])
def test_unknown_ways_to_compute_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        train(net(), **options)
