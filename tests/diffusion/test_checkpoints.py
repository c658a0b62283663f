"""What a stopped, killed or damaged training loses: nothing that is promised."""
import functools
import json
import os
import random
import signal
import time

import pytest
import torch

from lib import DamagedError, InputError
from lib.data import SIDES
from lib.diffusion import LEVELS, checkpoints, devices
from lib.diffusion.checkpoints import State, load_model, load_tensors, network_file, save_model, save_tensors
from lib.diffusion.schedules import make_schedule
from lib.diffusion.training import train_ddpm
from lib.diffusion.unet import UNet
from lib.processes import stop_asked

S = make_schedule("cosine", 100)
STEPS = 60


def net(seed=0):
    """In the memory format of notebook 20, which a state must keep: fused Adam reads its moments as they lie."""
    torch.manual_seed(seed)
    model = UNet(image_channels=1, image_size=8, num_classes=2, channels=8, channel_mult=(1, 2), num_res_blocks=1,
                 attn_resolutions=(), dropout=0.1)
    return model.to(memory_format=torch.channels_last)


def training(model, **more):
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 8, 8), generator=g).to(torch.uint8)
    options = {"steps": STEPS, "batch": 16, "lr": 2e-3, "warmup_steps": 5, "log_every": 5} | more
    return train_ddpm(model, S, images, torch.arange(40) % 2, **options)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def straight():
    """The records and weights of a training that nothing disturbs."""
    model = net()
    return list(training(model)), weights(model)


def resumed(path, **more):
    model = net(seed=99)                                # other initial weights: all must come from the file
    return list(training(model, checkpoint=path, **more)), weights(model)


def assert_same(a, b):
    times = ("seconds", "images_per_second")
    for first, second in zip(a[0], b[0], strict=True):
        assert {k: v for k, v in first.items() if k not in times} == {k: v for k, v in second.items() if k not in times}
    assert torch.equal(a[1], b[1])


# ---------------------------------------------------------------- stopped
@pytest.mark.parametrize("often", [{"checkpoint_seconds": 0}, {"checkpoint_images": 7 * 16}, {}])
def test_a_training_that_is_left_goes_on_to_the_same_bits(tmp_path, straight, often):
    for record in training(net(), checkpoint=tmp_path / "state.safetensors", **often):
        if record["done"] == 20:
            break
    assert_same(resumed(tmp_path / "state.safetensors"), straight)


def test_a_training_with_muon_that_is_left_resumes_to_the_same_bits(tmp_path):
    whole, path = net(), tmp_path / "state.safetensors"
    records = list(training(whole, optimizer="muon"))
    for seed, stop in enumerate((5, 35, 50)):           # after the first stop other initial weights
        for record in training(net(seed), optimizer="muon", checkpoint=path):
            if record["done"] == stop:
                break
    assert sum(name.startswith("optimizer.momentum.") for name in load_tensors(path)[0]) > 10
    assert_same(resumed(path, optimizer="muon"), (records, weights(whole)))
    with_adam = net()
    list(training(with_adam))
    assert not torch.equal(weights(with_adam), weights(whole))


def test_a_training_resumes_in_the_precision_that_a_trial_chose(tmp_path, monkeypatch):
    def trial(forward, gradient):
        return gradient(forward, 0), {"fp32": 1.0, "bf16": 0.5}[forward.precision]

    path, asked = tmp_path / "state.safetensors", net()
    records = list(training(asked, precision="bf16"))
    for name, value in {"has_bfloat16": lambda: True, "TRIALS": devices.TRIALS[:2], "trial": trial}.items():
        monkeypatch.setattr(devices, name, value)
    monkeypatch.setattr(devices.fastest, "__defaults__", (0,))
    for record in training(net(), checkpoint=path):
        if record["done"] == 20:
            break
    monkeypatch.setattr(devices, "trial", None)                     # a resumed training tries nothing
    model = net(seed=99)
    assert_same((list(training(model, checkpoint=path)), weights(model)), (records, weights(asked)))
    assert (model.computed["precision"], model.computed["compiled"]) == ("bf16", "off")
    assert model.computed["tried"] == {"fp32, compiled off": 1.0, "bf16, compiled off": 0.5}


# ---------------------------------------------------------------- stopped, with rungs
RUNGS = 160, 320, 960           # 10, 20 and 60 batches; in updates: trunk to 8, cool-down to 10, trunk to 18, ...
TRUNK, COOLING, FIRST, LAST = 13, 20, 8 + 2, 48 + 2 + 4 + 12


def with_rungs(folder, model, **more):
    return training(model, rungs={rung: folder / network_file(rung) for rung in RUNGS}, optimizer="muon",
                    **{"checkpoint": folder / "state.safetensors", "log_every": 1} | more)


@pytest.fixture(scope="module")
def straight_with_rungs(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("straight"), net()
    return list(with_rungs(folder, model, checkpoint=None)), weights(model), folder


def assert_same_rungs(folder, model, records, straight):
    assert_same((records, weights(model)), straight[:2])
    for rung in RUNGS:
        assert (folder / network_file(rung)).read_bytes() == (straight[2] / network_file(rung)).read_bytes()


@pytest.mark.parametrize("stops", [[1, FIRST - 2, FIRST - 1, FIRST, FIRST + 1], [TRUNK, COOLING], [FIRST - 1, LAST - 1]])
def test_a_training_with_rungs_that_is_left_anywhere_resumes_to_the_same_bits(tmp_path, straight_with_rungs, stops):
    for seed, stop in enumerate(stops):
        for record in with_rungs(tmp_path, net(seed)):
            if record["done"] == stop:
                break
        for file in tmp_path.glob("network-*"):         # a run that resumes begins with an empty folder, but for the state
            file.unlink()
    model = net(seed=99)
    assert_same_rungs(tmp_path, model, list(with_rungs(tmp_path, model)), straight_with_rungs)


def test_a_rung_is_there_before_the_training_ends(tmp_path):
    for record in with_rungs(tmp_path, net()):
        if record["done"] == TRUNK:
            break
    assert [file.name for file in tmp_path.glob("network-*")] == [network_file(160)]


def test_a_state_damaged_in_a_cool_down_falls_back_to_the_trunk(tmp_path, straight_with_rungs):
    path = tmp_path / "state.safetensors"
    for record in with_rungs(tmp_path, net(), checkpoint_images=7 * 16):
        if record["done"] == COOLING:
            break
    about, before = (load_tensors(tmp_path / f"state{name}.safetensors")[1] for name in ("", ".previous"))
    assert int(before["done"]) < COOLING - 2 < int(about["done"])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    model = net(seed=99)
    with pytest.warns(UserWarning, match="state.safetensors: damaged"):
        records = list(with_rungs(tmp_path, model))
    assert_same_rungs(tmp_path, model, records, straight_with_rungs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_a_signal_ends_the_training_between_two_steps_and_nothing_is_lost(tmp_path, straight, number, heard):
    seen, before = [], signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match="training stopped after step 20 of 60"):
        for record in training(net(), checkpoint=tmp_path / "state.safetensors"):
            seen.append(record)
            if record["done"] == 20:
                os.kill(os.getpid(), number)
    assert load_tensors(tmp_path / "state.safetensors")[1]["done"] == "20"
    assert signal.getsignal(number) is before
    assert_same(resumed(tmp_path / "state.safetensors"), straight)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)                      # as nohup does with SIGHUP
    try:
        with stop_asked() as asked:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not asked.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_diverged_training_keeps_its_last_sound_state(tmp_path):
    path = tmp_path / "state.safetensors"
    for record in training(net(), checkpoint=path, checkpoint_seconds=0):
        if record["done"] == 10:
            break
    sound = path.read_bytes()
    with pytest.raises(RuntimeError, match=r"not finite by step \d+ \(lr 1e\+30\); the state of step 10 is kept"):
        list(training(net(), checkpoint=path, lr=1e30, log_every=50))
    assert path.read_bytes() == sound


# ---------------------------------------------------------------- killed
def start(path, save=None, begin=training):
    """A training in a process of its own, which writes its state after each step; its number. save: instead of
    safetensors' own function."""
    child = os.fork()
    if child:
        return child
    try:
        checkpoints.save_file = save or checkpoints.save_file
        for _ in begin(net(), checkpoint=path, checkpoint_seconds=0):
            pass
    finally:
        os._exit(0)


def kill(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
@pytest.mark.slow
def test_after_twelve_kills_the_weights_are_those_of_a_straight_training(tmp_path, straight):
    path, chance, reached = tmp_path / "state.safetensors", random.Random(0), [0]
    state = State(path)
    for number in range(12):
        before, child = path.stat().st_mtime_ns if path.exists() else 0, start(path)
        if reached[-1] < STEPS - 1:                                             # at the last step none is written
            wait_for(lambda before=before: path.exists() and path.stat().st_mtime_ns != before)
        time.sleep(chance.uniform(0, 0.1))
        kill(child)
        reached.append(int(load_tensors(path if path.exists() else state.previous)[1]["done"]))
        assert reached[-1] >= reached[-2]                                       # it never falls back
        if number == 3 and path.exists():                                       # and damage on top of a kill
            path.write_bytes(path.read_bytes()[:-1] + b"?")
            reached.append(int(load_tensors(state.previous)[1]["done"]))
    assert 0 < reached[1] < STEPS - 1                                           # in the middle of it
    assert_same(resumed(path), straight)


@needs_fork
@pytest.mark.slow
def test_after_twelve_kills_every_rung_has_the_bits_of_a_straight_training(tmp_path, straight_with_rungs):
    path, chance, reached = tmp_path / "state.safetensors", random.Random(1), []
    for _ in range(12):
        before = path.stat().st_mtime_ns if path.exists() else 0
        child = start(path, begin=functools.partial(with_rungs, tmp_path))
        if not reached or reached[-1] < LAST - 1:
            wait_for(lambda before=before: path.exists() and path.stat().st_mtime_ns != before)
        time.sleep(chance.uniform(0, 0.1))
        kill(child)
        reached.append(int(load_tensors(path if path.exists() else State(path).previous)[1]["done"]))
    assert reached == sorted(reached) and 0 < reached[0] < LAST - 1
    model = net(seed=99)
    assert_same_rungs(tmp_path, model, list(with_rungs(tmp_path, model)), straight_with_rungs)


@needs_fork
def test_a_kill_in_the_middle_of_writing_leaves_the_state_before(tmp_path, straight):
    path, whole = tmp_path / "state.safetensors", checkpoints.save_file

    def slow(tensors, file, meta):                      # stays in the middle of writing until the killer comes
        whole(tensors, file, meta)
        if int(json.loads(meta["about"])["done"]) > 8:
            file.write_bytes(file.read_bytes()[:1000])
            (tmp_path / "writing").touch()
            time.sleep(60)

    child = start(path, slow)
    wait_for((tmp_path / "writing").exists)
    kill(child)
    assert load_tensors(path)[1]["done"] == "8"
    assert_same(resumed(path), straight)


# ---------------------------------------------------------------- damaged
def test_a_pointer_of_git_lfs_is_called_so(tmp_path):
    (tmp_path / "network.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DamagedError, match="a Git LFS pointer: `git lfs pull` fetches the file"):
        load_tensors(tmp_path / "network.safetensors")


def test_a_damaged_state_is_set_aside_and_the_one_before_is_used(tmp_path, straight):
    path = tmp_path / "state.safetensors"
    for record in training(net(), checkpoint=path, checkpoint_seconds=0):
        if record["done"] == 20:
            break
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.warns(UserWarning, match=r"state.safetensors: damaged .* it is state.safetensors.damaged now"):
        again = resumed(path)
    assert_same(again, straight)
    assert (tmp_path / "state.safetensors.damaged").exists()


def test_tensors_come_back_from_their_file_and_no_temporary_file_stays(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"w": torch.arange(3.0), "n": torch.tensor(2)}, {"name": "ä", "T": 100})
    tensors, meta = load_tensors(tmp_path / "a.safetensors")
    assert torch.equal(tensors["w"], torch.arange(3.0)) and meta == {"name": "ä", "T": "100"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    (tmp_path / "other").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode      # others may read it


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"w": torch.arange(30.0)}, {"done": 7})
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1:])
        with pytest.raises(InputError, match="a.safetensors"):
            load_tensors(path)
    for length in (0, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="expected a whole safetensors file"):
            load_tensors(path)


def test_a_pickle_is_never_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trace"),)

    torch.save({"w": Evil()}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="expected a whole safetensors file"):
        load_model(tmp_path / "model.safetensors")
    assert not (tmp_path / "trace").exists()


def test_a_disk_that_fills_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    save_tensors(tmp_path / "a.safetensors", {"w": torch.zeros(3)}, {})

    def full(tensors, file, meta):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(3)}, {})
    assert torch.equal(load_tensors(tmp_path / "a.safetensors")[0]["w"], torch.zeros(3))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_published_network_in_bfloat16_is_half_as_large_and_nearly_the_same(tmp_path):
    model = net()
    list(training(model, steps=20))
    for dtype in (torch.float32, torch.bfloat16):
        save_model(tmp_path / f"{dtype}", model, dtype)
    half, schedule, target = load_model(tmp_path / "torch.bfloat16")
    assert (tmp_path / "torch.bfloat16").stat().st_size < 0.62 * (tmp_path / "torch.float32").stat().st_size
    assert torch.equal(schedule.betas, S.betas) and next(half.parameters()).dtype == torch.float32
    torch.testing.assert_close(weights(half), weights(model), rtol=2**-8, atol=0)


# ---------------------------------------------------------------- of another kind
@pytest.fixture(scope="module")
def network_held(tmp_path_factory):
    model = net()
    model.trained = (S, "eps")
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    save_model(path, model)
    return load_tensors(path)


def option(name, value):
    def change(tensors, meta):
        meta["unet"] = json.dumps(json.loads(meta["unet"]) | {name: value})
    return change


FOREIGN = {
    "another file of tensors": (lambda t, m: m.clear(), "it says nothing of classes, schedule, target, unet"),
    "no JSON": (lambda t, m: m.update(unet="{"), "its options or classes are not readable"),
    "nested without end": (lambda t, m: m.update(unet="[" * 10**5), "its options or classes are not readable"),
    "an option more": (option("heads", 4), "its options lack or add heads"),
    "absurd width": (option("channels", 8 * 10**6), "its option channels=8000000 is out of range"),
    "absurd depth": (option("channel_mult", [1] * 10**6), r"its option channel_mult=\[1, 1, .* is out of range"),
    "wide, in range": (option("channels", 512), r"its \S+ is \(.*\) and not \(.*\) as its options say"),
    "deep, in range": (option("num_res_blocks", 8), r"it lacks or adds \d+ tensors, such as down"),
    "a class too many": (lambda t, m: m.update(classes='["0", "1", "2"]'), "it does not name its 2 classes"),
    "another target": (lambda t, m: m.update(target="score"), "target='score': expected one of 'eps', 'x0', 'v'"),
    "no schedule": (lambda t, m: t.pop("schedule.betas"), "it holds no schedule of 2 to 10,000 steps"),
    "betas not finite": (lambda t, m: t["schedule.betas"].fill_(torch.nan), "expected each between 0 and 1, exclusive"),
    "a weight missing": (lambda t, m: t.pop("last.bias"), "it lacks or adds 1 tensors, such as last.bias"),
    "a weight not finite": (lambda t, m: t["last.bias"].fill_(torch.nan), "its last.bias holds values that are not finite"),
    "a patch that does not divide": (lambda t, m: (option("image_size", 9)(t, m), option("patch", 2)(t, m)),
                                     "patch=2: expected a divisor of the image's sides, 9 x 9"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_network_held_is_one_sentence(tmp_path, network_held, kind):
    tensors, meta = {name: tensor.clone() for name, tensor in network_held[0].items()}, dict(network_held[1])
    change, words = FOREIGN[kind]
    change(tensors, meta)
    save_tensors(tmp_path / "foreign.safetensors", tensors, meta)
    with pytest.raises(InputError, match=rf"foreign.safetensors: expected a trained network, but .*{words}") as error:
        load_model(tmp_path / "foreign.safetensors")
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


@pytest.mark.parametrize("options", [
    {"image_size": SIDES[1], "attn_resolutions": [SIDES[1]], "channel_mult": [1]}, {"image_size": (SIDES[0], SIDES[1])},
    {"channel_mult": [1] * LEVELS}, {"num_classes": 10_000}], ids=repr)
def test_what_a_training_may_be_is_loaded_again(tmp_path, options):
    small = {"image_channels": 1, "image_size": 8, "num_classes": 2, "channels": 8, "channel_mult": [1], "num_res_blocks": 1,
             "attn_resolutions": []} | options
    model = UNet(**small)
    model.trained, model.classes = (S, "v"), [str(k) for k in range(small["num_classes"])]
    save_model(tmp_path / "large.safetensors", model)
    torch.testing.assert_close(weights(load_model(tmp_path / "large.safetensors")[0]), weights(model))


def test_a_network_saved_before_there_were_patches_loads_as_one_without(tmp_path, network_held):
    tensors, meta = network_held[0], dict(network_held[1])
    options = json.loads(meta["unet"])
    del options["patch"]
    save_tensors(tmp_path / "old.safetensors", tensors, meta | {"unet": json.dumps(options)})
    assert load_model(tmp_path / "old.safetensors")[0].patch == 1
