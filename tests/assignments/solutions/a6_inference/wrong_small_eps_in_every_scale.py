"""A small number is added to every scale.

fails: quantize.groups_of_a_row
names: nothing is added to it
"""

from _base import *


def scales_of(groups):
    return groups.abs().amax(-1) / 127 + 1e-8
