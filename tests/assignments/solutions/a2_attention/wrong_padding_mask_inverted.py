"""True where there is padding.

fails: cross.masks_the_padding
names: padding_mask is inverted
points: 98-99
"""

from _base import *


def padding_mask(lengths, k):
    return (torch.arange(k) >= lengths[:, None])[:, None, None]
