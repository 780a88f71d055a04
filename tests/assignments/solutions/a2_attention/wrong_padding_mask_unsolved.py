"""Leaves one small function unsolved.

fails: cross.masks_the_padding
names: not solved yet
points: 98-99
"""

from _base import *


def padding_mask(lengths, k):
    raise NotImplementedError
