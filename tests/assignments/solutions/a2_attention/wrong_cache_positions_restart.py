"""Numbers the tokens from 0 in every call.

fails: positions.positions_with_a_cache, positions.generation_together
names: positions begin at 0 in every piece
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def positions(self, x, token_positions, cache):
        return super().positions(x, token_positions, None)
