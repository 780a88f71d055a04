"""Takes rope for an operation in place.

fails: positions.rope_turns, positions.what_the_cache_is_given, positions.generation_together
names: what rope returns is not used
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def turn(self, q, k, v, positions):
        if self.rope is not None:
            self.rope(q, positions.unsqueeze(-2)), self.rope(k, positions.unsqueeze(-2))
        return q, k, v
