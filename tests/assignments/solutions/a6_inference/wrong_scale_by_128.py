"""The scale is max |w| / 128.

fails: quantize.groups_of_a_row, quantize.zero_group, quantize.quantize_dtypes, quantize.rows_that_cannot_be_cut, quantize.quantize_together
names: max |w| / 128
"""

from _base import *


def scales_of(groups):
    scales = groups.abs().amax(-1) / 128
    return torch.where(scales > 0, scales, 1.0)


def integers(x):
    return x.round().clamp(-127, 127).to(torch.int8)
