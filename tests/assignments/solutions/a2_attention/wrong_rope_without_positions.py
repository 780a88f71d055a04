"""Hands the positions that it was given to rope, and None where it was given none.

fails: multi_head.normalises_queries_and_keys, positions.rope_turns, positions.positions_with_a_cache, positions.what_the_cache_is_given, positions.generation_together
names: rope is called without positions
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def positions(self, x, token_positions, cache):
        return token_positions

    def turn(self, q, k, v, positions):
        if positions is not None:
            return super().turn(q, k, v, positions)
        return (q, k, v) if self.rope is None else (self.rope(q, None), self.rope(k, None), v)
