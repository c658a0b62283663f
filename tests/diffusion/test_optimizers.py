"""Muon: what its update is, which weights it moves, and that it learns."""
import pytest
import torch

from lib import InputError
from lib.diffusion.optimizers import Muon, adam, make_optimizer, orthogonalise, scale_lr
from lib.diffusion.unet import UNet


def net(**more):
    torch.manual_seed(0)
    options = {"image_channels": 1, "image_size": 8, "num_classes": 2, "channels": 8, "channel_mult": (1, 2),
               "num_res_blocks": 1, "attn_resolutions": (8,)}
    return UNet(**options | more).to(memory_format=torch.channels_last)


def with_gradients(network, seed=1):
    g = torch.Generator().manual_seed(seed)
    for p in network.parameters():
        p.grad = torch.empty_like(p).copy_(torch.randn(p.shape, generator=g))
    return network


@pytest.mark.parametrize("shape", [(5, 16, 144), (3, 144, 16), (2, 32, 32), (1, 1, 9)])
def test_an_update_is_nearly_orthogonal_and_has_the_directions_of_its_matrix(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    result, (u, s, vh) = orthogonalise(matrices), torch.linalg.svd(matrices, full_matrices=False)
    values = (u.mT @ result @ vh.mT).diagonal(dim1=-2, dim2=-1)         # in the basis of the matrix's singular vectors
    large = values[s > 0.01 * s.amax(-1, keepdim=True)]
    assert 0.65 < large.min() and large.max() < 1.25
    torch.testing.assert_close(result, u @ torch.diag_embed(values) @ vh, rtol=0, atol=1e-4)    # and nothing beside them


def test_a_gradient_of_zeros_moves_nothing():
    assert torch.equal(orthogonalise(torch.zeros(2, 3, 5)), torch.zeros(2, 3, 5))


def test_two_steps_are_those_of_the_plain_formula():
    network, plain = net(), dict(net().named_parameters())
    optimizer, momentum = Muon(network, lr=2e-3, muon_lr=0.01), {}
    rest = [name for name, p in plain.items() if p.ndim < 2 or name.startswith(("time", "label", "first", "last"))]
    others = torch.optim.Adam([plain[name] for name in rest], 2e-3)
    for step, factor in ((1, 0.5), (2, 1.0)):
        with_gradients(network, step)
        scale_lr(optimizer, factor)
        optimizer.step()
        others.param_groups[0]["lr"] = 2e-3 * factor
        for name, p in network.named_parameters():
            plain[name].grad = p.grad.clone()
            if name not in rest:
                rows, columns = len(p), p[0].numel()
                momentum[name] = 0.95 * momentum.get(name, 0) + 0.05 * p.grad
                x = (0.05 * p.grad + 0.95 * momentum[name]).reshape(rows, columns)
                x = x / torch.linalg.matrix_norm(x)
                for _ in range(5):
                    xx = x @ x.T
                    x = 3.4445 * x - 4.7750 * xx @ x + 2.0315 * xx @ xx @ x
                plain[name].data -= 0.01 * factor * max(1, rows / columns) ** 0.5 * x.view(p.shape)
        others.step()
    assert len(momentum) == len(plain) - len(rest) > 20
    for name, p in network.named_parameters():
        torch.testing.assert_close(p, plain[name], rtol=0, atol=3e-5, msg=name)
    optimizer.zero_grad()
    assert all(p.grad is None for p in network.parameters())


def test_kernels_inside_are_muons_and_the_ends_are_adams():
    optimizer = Muon(network := net(), 1e-3, 0.01)
    ours = {id(p) for p in optimizer.muon["params"]}
    names = {name for name, p in network.named_parameters() if id(p) in ours}
    assert {"down.0.0.block.conv1.weight", "down.0.0.block.emb.weight", "middle.0.conv2.weight",
            "middle_attention.qkv.weight", "shrink.0.weight"} <= names
    assert not {n for n in names if n.endswith("bias") or "norm" in n or n.startswith(("time", "label", "first", "last"))}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))


def test_the_names_of_the_optimisers():
    assert isinstance(make_optimizer("muon", net(), 1e-3, 0.01), Muon)
    assert isinstance(make_optimizer("adam", net(), 1e-3, 0.01), torch.optim.Adam)
    assert adam(net().parameters(), 3e-3).param_groups[0]["lr"] == 3e-3
    with pytest.raises(InputError, match="optimizer='sgd': expected one of 'adam', 'muon'"):
        make_optimizer("sgd", net(), 1e-3, 0.01)
