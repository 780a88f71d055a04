"""Gives rope the positions first and what is to be turned second.

fails: multi_head.normalises_queries_and_keys, positions.rope_turns, positions.given_positions, positions.positions_with_a_cache, positions.what_the_cache_is_given, positions.generation_together
names: its arguments are x and token_positions, in this order
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def turn(self, q, k, v, positions):
        if self.rope is None:
            return q, k, v
        return self.rope(positions.unsqueeze(-2), q), self.rope(positions.unsqueeze(-2), k), v
