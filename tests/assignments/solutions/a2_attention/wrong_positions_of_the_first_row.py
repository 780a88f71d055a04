"""Makes the causal mask from the positions of the first text.

fails: positions.positions_in_any_order
names: the positions of the first text
points: 99-100
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def in_order(self, causal, positions):
        return super().in_order(causal, positions if positions is None or positions.ndim == 1 else positions[0])
