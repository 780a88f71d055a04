"""Makes the causal mask from the order of the tokens, whatever their positions.

fails: positions.positions_in_any_order
names: goes by the order of the tokens
points: 99-100
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def in_order(self, causal, positions):
        return causal
