"""Lets one key too many through.

fails: cross.masks_the_padding
names: one key too many
points: 98-99
"""

from _base import *


def padding_mask(lengths, k):
    return (torch.arange(k) <= lengths[:, None])[:, None, None]
