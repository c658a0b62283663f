import pytest
import torch

from lib import InputError
from lib.samplers import ImageNoise, sample
from lib.schedules import from_betas, make_schedule
from lib.training import (
    Diverged,
    PassOrder,
    ema_decay,
    load_model,
    load_tensors,
    pick_device,
    save_model,
    save_tensors,
    train_ddpm,
    warmup_cosine,
)
from lib.unet import UNet

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
    for record in train_ddpm(model, S, images, labels, steps=steps, batch=16, lr=2e-3, warmup_steps=5, log_every=5,
                             **more):
        records.append(record)
        if record["done"] == stop:
            break
    return records


def test_training_lowers_the_loss_from_1():
    records = train(net(), steps=120)
    assert records[0]["loss"] < 1.2
    assert records[-1]["loss"] < 0.6 * records[0]["loss"]
    assert records[-1]["images"] == 120 * 16


def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path):
    straight, stopped = net(), net()
    whole = train(straight)
    state = tmp_path / "state.safetensors"
    train(stopped, stop=20, checkpoint=state, checkpoint_seconds=0)
    resumed = net(seed=99)                                     # other initial weights: all must come from the file
    again = train(resumed, checkpoint=state)
    for (name, a), b in zip(straight.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert [r["done"] for r in again] == [r["done"] for r in whole]
    assert again[-1]["loss"] == whole[-1]["loss"]


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


@pytest.mark.parametrize("target", ["x0", "v"])
@pytest.mark.parametrize("loss_weight", ["simple", "min-snr", "vlb"])
def test_every_target_and_weight_can_be_learned(target, loss_weight):
    records = train(net(), steps=120, target=target, loss_weight=loss_weight)
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
    with pytest.raises(Diverged, match=r"by step \d+ \(lr 1e\+30\)"):
        train_images, labels = toy()
        list(train_ddpm(net(), S, train_images, labels, steps=30, batch=16, lr=1e30, warmup_steps=0, log_every=1))


def test_tensors_come_back_from_their_file_and_no_temporary_file_stays(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"w": torch.arange(3.0)}, {"schedule": "cosine", "T": 100})
    tensors, meta = load_tensors(tmp_path / "a.safetensors")
    assert torch.equal(tensors["w"], torch.arange(3.0)) and meta == {"schedule": "cosine", "T": "100"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_device_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match="device='cuda': expected 'auto' or one of this machine's: 'cpu'"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"
