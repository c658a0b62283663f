import pytest
import torch
from torch import nn

from lib import InputError
from lib.diffusion import devices
from lib.diffusion.devices import Forward, pick_device


class Linear(nn.Module):
    num_classes, trained = 3, ("schedule", "eps")

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x, t, y):
        return self.conv(x)


X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_device_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match="device='cuda': expected 'auto' or one of this machine's: 'cpu'"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"


def test_on_a_cpu_auto_is_float32_and_not_compiled():
    forward = Forward(Linear())
    assert (forward.precision, forward.compiled) == ("fp32", "off")
    torch.testing.assert_close(forward(X, None, None), forward.model(X, None, None))


def test_bfloat16_rounds_the_products_and_answers_in_float32():
    model = Linear()
    rough, exact = Forward(model, "bf16")(X, None, None), model(X, None, None)
    assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.03)             # 8 bits of values up to 3
    assert model.conv.weight.dtype == torch.float32


def test_it_passes_on_what_a_sampler_asks_a_network_for():
    forward = Forward(Linear())
    assert (forward.num_classes, forward.trained) == (3, ("schedule", "eps"))


def test_a_compiled_network_gives_the_same_answer(monkeypatch):
    compile_, modes = torch.compile, []

    def traced(model, mode):                    # the graph is made and run without the compiler, which takes minutes
        modes.append(mode)
        return compile_(model, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", traced)
    model = Linear()
    torch.testing.assert_close(Forward(model, compiled="default")(X, None, None), model(X, None, None))
    assert modes == ["default"]


@pytest.mark.parametrize("options, words", [
    ({"precision": "fp16"}, "precision='fp16': expected one of 'auto', 'fp32', 'bf16'"),
    ({"compiled": "on"}, "compiled='on': expected one of 'auto', 'off'")])
def test_unknown_names_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Forward(Linear(), **options)


# ---------------------------------------------------------------- chosen by a trial, on a CPU with bfloat16
FP32, BF16, COMPILED = (f"{precision}, compiled {compiled}" for precision, compiled in devices.TRIALS)


@pytest.fixture
def able(monkeypatch):
    """able(seconds, compile): a CPU with bfloat16, where an update of each trial takes so long, and compilation does
    so. Each gradient is computed as it is."""
    real = devices.trial

    def inject(seconds, compile=lambda model, mode: model):
        monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
        monkeypatch.setattr(torch, "compile", compile)
        monkeypatch.setattr(devices, "trial", lambda forward, gradient: (real(forward, gradient)[0], seconds[str(forward)]))

    return inject


def gradient_of(network):
    def gradient(forward, k):
        network.zero_grad()
        loss = forward(X, None, None).square().mean()
        loss.backward()
        return loss.item(), torch.cat([p.grad.flatten() for p in network.parameters()])
    return gradient


def choose(updates=10**6):
    network = Linear().train()
    before = [p.clone() for p in network.parameters()]
    forward, tried = devices.fastest(network, "auto", "auto", gradient_of(network), updates)
    assert all(torch.equal(p, kept) for p, kept in zip(network.parameters(), before, strict=True)) and network.training
    return str(forward), tried


def test_a_cpu_without_bfloat16_tries_nothing(monkeypatch):
    monkeypatch.setattr(devices, "has_bfloat16", lambda: False)
    forward, tried = devices.fastest(Linear(), "auto", "auto", None, 10**6)
    assert (str(forward), tried) == (FP32, {})


def test_what_is_asked_for_is_not_tried(able):
    able({})
    for asked in (("fp32", "auto"), ("bf16", "auto"), ("auto", "off")):
        assert devices.fastest(Linear(), *asked, None, 10**6)[1] == {}


@pytest.mark.parametrize("seconds, chosen", [((1, 0.6, 0.5), COMPILED), ((1, 0.5, 0.6), BF16), ((1, 0.95, 1.2), FP32)])
def test_a_long_training_takes_the_fastest(able, seconds, chosen):
    able(dict(zip((FP32, BF16, COMPILED), seconds, strict=True)))
    assert choose() == (chosen, dict(zip((FP32, BF16, COMPILED), seconds, strict=True)))


def test_a_short_training_does_not_pay_for_a_trial(able):
    able({FP32: 1.0})
    assert choose(updates=600) == (FP32, {FP32: 1.0})


@pytest.mark.parametrize("seconds, chosen", [((1, 1.2, 0.5), COMPILED), ((1, 1.2, 1.3), FP32)])
def test_a_long_drawing_takes_the_fastest(able, seconds, chosen):
    able(dict(zip((FP32, BF16, COMPILED), seconds, strict=True)))
    network, how = Linear(), {"batch": 4, "image_shape": X.shape[1:], "guidance": 2.0, "steps": 12}
    network.num_classes = 3
    forward, tried = devices.fastest_drawing(network, "auto", "auto", images=44, **how)     # 11 batches of 12 steps
    assert str(forward) == chosen and len(tried) == 3
    forward, tried = devices.fastest_drawing(network, "auto", "auto", images=40, **how)
    assert (str(forward), tried) == (FP32, {FP32: 1})


def not_finite(model, mode):
    class Broken(nn.Module):
        def forward(self, *batch):
            return model(*batch) * (1 + 0 * sum(p.sum() for p in model.parameters()).log().sqrt())
    return Broken()


def wrong(model, mode):
    return lambda *batch: 1.1 * model(*batch)


@pytest.mark.parametrize("compile, reason", [(not_finite, "its loss is off by nan"), (wrong, "its loss is off by 0.2")])
def test_what_is_not_close_to_float32_is_refused(able, compile, reason):
    able({FP32: 1.0, BF16: 0.7, COMPILED: 0.1}, compile)
    chosen, tried = choose()
    assert chosen == BF16 and reason in tried[COMPILED]


def test_a_wrong_gradient_is_refused_though_the_loss_is_right():
    loss, gradient = 1.0, torch.ones(10)
    assert devices.unlike((loss, gradient), (loss, gradient * 1.01)) == ""
    assert "its gradient is off by 0.1 " in devices.unlike((loss, gradient), (loss, gradient * 1.1))
    assert "its gradient is off by nan" in devices.unlike((loss, gradient), (loss, gradient * torch.nan))


def test_without_a_compiler_the_others_are_tried(able):
    def none(model, mode):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nand more")

    able({FP32: 1.0, BF16: 0.7}, none)
    chosen, tried = choose()
    assert chosen == BF16 and tried[COMPILED] == "it fails: InvalidCxxCompiler: No working C++ compiler found"


def test_the_weights_are_moved_for_the_check_so_that_zeros_hide_nothing():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    nn.init.zeros_(network[1].weight)
    with devices.moved(network):
        network(torch.ones(2, 3)).sum().backward()
        assert network[0].weight.grad.abs().min() > 0
    assert not network[1].weight.any() and network[0].weight.grad is None


def test_a_choice_is_kept_where_it_can_be_and_else_a_warning_tells(able, monkeypatch):
    network = Linear()
    gradient = gradient_of(network)
    able({})
    assert str(devices.as_before(network, "auto", "auto", ("bf16", "default"), gradient)) == COMPILED
    assert str(devices.as_before(network, "fp32", "auto", ("bf16", "off"), gradient)) == FP32    # asked for
    monkeypatch.setattr(torch, "compile", lambda model, mode: 1 / 0)
    with pytest.warns(UserWarning, match="began with bf16, compiled default and resumes with bf16, compiled off: division"):
        assert str(devices.as_before(network, "auto", "auto", ("bf16", "default"), gradient)) == BF16
    monkeypatch.setattr(devices, "has_bfloat16", lambda: False)
    with pytest.warns(UserWarning, match="resumes with fp32, compiled off: this CPU has no bfloat16"):
        assert str(devices.as_before(network, "auto", "auto", ("bf16", "off"), gradient)) == FP32
