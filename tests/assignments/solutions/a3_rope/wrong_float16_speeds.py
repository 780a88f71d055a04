"""Works out the speeds in float16, where 500,000 is infinite.

fails: angles.ordinary_heads_turn_at_the_right_speeds, angles.cosines_are_exact, angles.angles_are_exact_far_away
names: some pairs stay as they are
points: 86-94
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return self.theta ** -(torch.arange(0, self.d_k, 2, dtype=torch.float16) / self.d_k)
