"""Randomness as a function of (seed, purpose, step), never of hidden generator state: any step can be made first."""
import hashlib

import torch


def step_generator(*key):
    """A CPU generator whose stream is a function of `key` alone (such as seed, 'noise', step)."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def seed_dropout(seed, device):
    """Seed the hidden generator that dropout draws from. (torch.manual_seed takes 8 ms where CUDA is not started.)"""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


class PassOrder:
    """Endless shuffled passes over n items, cut into batches; order(step) is the step-th one, (batch,) int64.

    A function of (n, batch, seed, step) alone: any step can be asked for first.
    """

    def __init__(self, n, batch, seed):
        self.n, self.batch, self.seed, self.passes = n, batch, seed, {}

    def __call__(self, step):
        first, last, n = step * self.batch, (step + 1) * self.batch, self.n
        needed = range(first // n, (last - 1) // n + 1)
        self.passes = {p: self.passes[p] if p in self.passes else
                       torch.randperm(n, generator=step_generator(self.seed, "order", p)) for p in needed}
        return torch.cat([self.passes[p][max(first - p * n, 0):last - p * n] for p in needed])
