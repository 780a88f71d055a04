"""Forgets super().__init__().

fails: module.it_is_a_module
names: super().__init__() is missing
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def __init__(self, theta, d_k, max_seq_len, device=None, *, layout="interleaved"):
        self.theta, self.d_k, self.max_seq_len, self.layout = theta, d_k, max_seq_len, layout
        self.check_arguments()
        self.keep(self.angles(self.all_positions()), device)
