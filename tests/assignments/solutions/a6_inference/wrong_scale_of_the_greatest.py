"""The scale is that of the greatest weight, not of its size.

fails: quantize.groups_of_a_row, quantize.quantize_dtypes, quantize.quantize_together
names: scale
may: quantize.zero_group, quantize.rows_that_cannot_be_cut
"""

from _base import *


def scales_of(groups):
    scales = groups.amax(-1).abs() / 127
    return torch.where(scales > 0, scales, 1.0)


def integers(x):
    return x.round().clamp(-127, 127).to(torch.int8)
