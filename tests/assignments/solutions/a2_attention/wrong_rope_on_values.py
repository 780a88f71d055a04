"""Turns the values too.

fails: positions.rope_turns, positions.what_the_cache_is_given, positions.generation_together
names: rope turns the values too
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def turn(self, q, k, v, positions):
        return (q, k, v) if self.rope is None else tuple(self.rope(z, positions.unsqueeze(-2)) for z in (q, k, v))
