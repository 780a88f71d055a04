"""Goes through numpy, so that no weight can learn.

fails: layouts.weights_move_both_ways
names: no gradient, or a wrong one
"""

from _base import *


def interleaved_to_half(x, dim=-1):
    n = x.shape[dim]
    return torch.from_numpy(x.detach().numpy().take([*range(0, n, 2), *range(1, n, 2)], axis=dim))
