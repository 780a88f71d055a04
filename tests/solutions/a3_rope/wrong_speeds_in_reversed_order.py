"""The last pair turns fastest.

fails: rotation.each_pair_has_its_own_speed, module.whole_rotations_agree
names: the first pair is the fastest
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return super().speeds().flip(0)
