"""Ignores the positions that are given.

fails: positions.given_positions
names: token_positions has no effect
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def positions(self, x, token_positions, cache):
        return super().positions(x, None, cache)
