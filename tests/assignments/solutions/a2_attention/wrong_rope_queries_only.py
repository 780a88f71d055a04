"""Turns the queries only.

fails: positions.rope_turns, positions.what_the_cache_is_given, positions.generation_together
names: only the queries are turned
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def turn(self, q, k, v, positions):
        return (q, k, v) if self.rope is None else (self.rope(q, positions.unsqueeze(-2)), k, v)
