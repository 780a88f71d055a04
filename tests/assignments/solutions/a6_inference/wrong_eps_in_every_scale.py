"""A number is added to every scale, so that none is 0.

fails: quantize.zero_group
names: changes the scales of others
"""

from _base import *


def scales_of(groups):
    scales = groups.abs().amax(-1) / 127
    return scales + 0.01 * (scales == 0).any()
