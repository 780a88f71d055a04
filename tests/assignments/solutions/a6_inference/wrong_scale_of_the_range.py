"""The scale is that of asymmetric quantisation.

fails: quantize.groups_of_a_row, quantize.zero_group, quantize.quantize_dtypes, quantize.rows_that_cannot_be_cut, quantize.quantize_together
names: symmetric is max |w| / 127
"""

from _base import *


def scales_of(groups):
    scales = (groups.amax(-1) - groups.amin(-1)) / 255
    return torch.where(scales > 0, scales, 1.0)


def integers(x):
    return x.round().clamp(-127, 127).to(torch.int8)
