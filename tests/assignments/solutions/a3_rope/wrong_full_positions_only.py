"""Takes positions that are given for each vector of x, and none that broadcast.

fails: positions.heads_share_the_positions_of_their_row
names: are not accepted
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def forward(self, x, token_positions):
        if token_positions.shape != x.shape[:-1]:
            raise ValueError("a position for each vector is needed")
        return super().forward(x, token_positions)
