"""Two processes do what one does, with gloo on the CPU: the same losses, the same images, and nothing is lost."""
import os
import signal

import psutil
import pytest
import torch

from lib import parallel, samplers, training
from lib.checkpoints import State, load_tensors
from lib.schedules import make_schedule
from lib.unet import UNet

pytestmark = pytest.mark.slow
S = make_schedule("cosine", 100)
G = torch.Generator().manual_seed(0)
IMAGES, LABELS = torch.randint(0, 256, (40, 1, 8, 8), generator=G).to(torch.uint8), torch.arange(40) % 2
OPTIONS = {"steps": 30, "batch": 15, "lr": 2e-3, "warmup_steps": 5, "log_every": 5, "flip": True}


def net(seed=0):
    torch.manual_seed(seed)
    return UNet(image_channels=1, image_size=8, num_classes=2, channels=8, channel_mult=(1, 2), num_res_blocks=1,
                attn_resolutions=()).to(memory_format=torch.channels_last)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def children():
    return [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE and "spawn_main" in str(p.cmdline())]


@pytest.fixture(scope="module")
def straight():
    model = net()
    return list(training.train_ddpm(model, S, IMAGES, LABELS, **OPTIONS)), model


def assert_same(records, model, straight):
    for a, b in zip(records, straight[0], strict=True):
        for key in set(a) - {"seconds", "images_per_second"}:
            assert a[key] == pytest.approx(b[key], rel=1e-4), key             # sums of float32 in another order
        assert a["images_per_second"] > 0
    torch.testing.assert_close(weights(model), weights(straight[1]), rtol=0, atol=1e-4)


def test_two_processes_learn_what_one_learns_also_when_they_are_stopped_in_between(tmp_path, straight):
    path = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt, match="training stopped after step 15 of 30"):
        for record in parallel.train_ddpm(net(), S, IMAGES, LABELS, gpus=2, checkpoint=path, **OPTIONS):
            if record["done"] == 5:
                assert len(children()) == 2
                os.kill(os.getpid(), signal.SIGTERM)
    assert load_tensors(path)[1]["done"] == "15" and not children()
    model = net(seed=99)                                                       # all comes from the file
    records = list(parallel.train_ddpm(model, S, IMAGES, LABELS, gpus=2, checkpoint=path, **OPTIONS))
    assert_same(records, model, straight)
    assert not model.training and model.trained == (S, "eps")


def test_when_one_process_is_killed_all_end_and_one_goes_on_from_the_state(tmp_path, straight):
    path = tmp_path / "state.safetensors"
    with pytest.raises(parallel.Failed, match=r"process [01] of 2 was killed .* goes on from the last checkpoint"):
        for record in parallel.train_ddpm(net(), S, IMAGES, LABELS, gpus=2, checkpoint=path, checkpoint_seconds=0,
                                          **OPTIONS | {"steps": 100_000}):
            if record["done"] == 10:
                children()[1].kill()
    assert not children() and int(load_tensors(path)[1]["done"]) >= 10
    State(path).remove()
    for record in parallel.train_ddpm(net(), S, IMAGES, LABELS, gpus=2, checkpoint=path, **OPTIONS):
        if record["done"] == 10:
            break
    assert int(load_tensors(path)[1]["done"]) >= 10                            # left, it writes its state
    model = net(seed=99)
    records = list(parallel.train_ddpm(model, S, IMAGES, LABELS, gpus=1, checkpoint=path, **OPTIONS))
    assert_same(records, model, straight)


def test_the_images_are_the_same_whatever_the_number_of_processes(straight):
    options = {"seed": 3, "batch": 4, "steps": 5, "sampler": "ancestral"}
    labels = samplers.class_labels(2, 9)
    made = [list(parallel.generate(straight[1], S, labels, (1, 8, 8), gpus=gpus, **options)) for gpus in (1, 2)]
    assert [part["done"] for part in made[0]] == [part["done"] for part in made[1]]
    one, two = (torch.cat([part["images"] for part in parts]) for parts in made)
    assert torch.equal(one, two)


def test_an_error_in_a_process_is_the_error_of_all():
    with pytest.raises(training.Diverged, match="not finite"):
        list(parallel.train_ddpm(net(), S, IMAGES, LABELS, gpus=2, **OPTIONS | {"lr": 1e30, "warmup_steps": 0}))
    assert not children()
