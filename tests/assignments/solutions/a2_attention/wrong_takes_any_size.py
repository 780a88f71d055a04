"""Takes sizes that do not fit.

fails: multi_head.refuses_bad_sizes
names: sizes that do not fit are taken
points: 99-100
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def check_sizes(self, d_head):
        pass
