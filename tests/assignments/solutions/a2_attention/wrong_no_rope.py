"""Never calls rope.

fails: positions.rope_turns, positions.given_positions, positions.positions_with_a_cache, positions.what_the_cache_is_given, positions.generation_together
names: rope is not used
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def turn(self, q, k, v, positions):
        return q, k, v
