"""The sign by a comparison.

fails: direction.the_sign_of_zero_is_zero
names: the sign of 0 is 0
points: 95-99
"""

from _base import *


class Lion(Lion):
    def sign(self, c):
        return torch.where(c >= 0, 1.0, -1.0).to(c.dtype)
