"""The optimisers of a training: Adam, and Muon for the matrices of the hidden layers.

`state` has a dictionary of tensors for each weight, which a checkpoint keeps; `param_groups` hold the learning rates.
"""
import torch

from lib.diffusion import OPTIMIZERS, known

NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315     # of a s + b s^3 + c s^5, which brings singular values to 0.7..1.2
OUTER = "time", "label", "first", "last"    # parts of the U-Net at its ends: embeddings, first and last convolution


def make_optimizer(name, network, lr, muon_lr):
    """`adam` or `Muon` for all weights of the network. InputError for another name."""
    known("optimizer", name, OPTIMIZERS)
    return adam(network.parameters(), lr) if name == "adam" else Muon(network, lr, muon_lr)


def adam(weights, lr):
    """Adam (Kingma & Ba 2015), all weights in one kernel where the device has it: up to 1.4 times as fast."""
    weights = list(weights)
    fused = weights[0].device.type in ("cpu", "cuda")
    return torch.optim.Adam([{"params": weights, "initial_lr": lr}], lr, fused=fused)


def scale_lr(optimizer, factor):
    """Set every learning rate to `factor` times its first value."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def orthogonalise(matrices):
    """U V^T of each matrix U S V^T, roughly: singular values of 0.7 to 1.2. (n, rows, columns) -> the same shape.

    Five Newton-Schulz steps with the quintic of Jordan et al. 2024, in bfloat16 on a GPU as they have it. A matrix of
    zeros stays one; directions of less than about 1/1000 of the norm do not reach 0.7.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    x = x.mT if x.shape[-2] > x.shape[-1] else x                        # the smaller square
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if matrices.shape[-2] > matrices.shape[-1] else x).to(matrices.dtype)


class Muon:
    """Muon for the matrices of the hidden layers, Adam for all other weights: Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon.

    A hidden matrix W (rows, columns), a convolution's kernel as (out, in * k * k), moves by
    -muon_lr * sqrt(max(1, rows / columns)) * orthogonalise(momentum of its gradient), with Nesterov's momentum of 0.95.
    Vectors and the layers in OUTER keep Adam with `lr`.
    """

    momentum = 0.95

    def __init__(self, network, lr, muon_lr):
        named = dict(network.named_parameters())
        hidden = {name: p for name, p in named.items() if p.ndim >= 2 and name.split(".")[0] not in OUTER}
        self.adam = adam([p for name, p in named.items() if name not in hidden], lr)
        self.muon = {"params": list(hidden.values()), "lr": muon_lr, "initial_lr": muon_lr}
        self.param_groups = [*self.adam.param_groups, self.muon]
        self.state = self.adam.state
        self.state |= {p: {"momentum": torch.zeros_like(p)} for p in hidden.values()}
        self.shapes = {}                                        # equal shapes in one call: fewer, larger products
        for p in self.muon["params"]:
            self.shapes.setdefault((len(p), p[0].numel()), []).append(p)

    def zero_grad(self):
        self.adam.zero_grad()
        for p in self.muon["params"]:
            p.grad = None

    @torch.no_grad()
    def step(self):
        self.adam.step()
        for (rows, columns), weights in self.shapes.items():
            gradients = []
            for p in weights:
                mean = self.state[p]["momentum"].lerp_(p.grad, 1 - self.momentum)
                gradients.append(p.grad.lerp(mean, self.momentum).reshape(rows, columns))
            scale = self.muon["lr"] * max(1, rows / columns) ** 0.5
            for p, update in zip(weights, orthogonalise(torch.stack(gradients)), strict=True):
                p.sub_(update.view(p.shape), alpha=scale)
