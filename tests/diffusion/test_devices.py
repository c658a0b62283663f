import pytest
import torch
from torch import nn

from lib import InputError
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
