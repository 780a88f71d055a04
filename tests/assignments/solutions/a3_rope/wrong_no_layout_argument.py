"""Stanford's interface without the layout.

fails: layouts.half_is_the_same_rotation_elsewhere, layouts.whole_halves_agree
names: layout is not accepted
points: 90-96
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def __init__(self, theta, d_k, max_seq_len, device=None):
        super().__init__(theta, d_k, max_seq_len, device)
