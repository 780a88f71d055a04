"""Compares given positions with the numbers of the keys.

fails: positions.given_positions, positions.positions_in_any_order
names: compare them with the positions of the keys
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def in_order(self, causal, positions):
        if positions is None:
            return causal
        mask = torch.arange(causal.shape[1]) <= positions[..., None]
        return mask if mask.ndim == 2 else mask[:, None]
