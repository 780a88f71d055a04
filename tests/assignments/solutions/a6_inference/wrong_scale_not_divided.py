"""The scale is the greatest weight.

fails: quantize.groups_of_a_row, quantize.zero_group, quantize.quantize_dtypes, quantize.rows_that_cannot_be_cut, quantize.quantize_together
names: the scale is max |w|: it is divided by 127
"""

from _base import *


def scales_of(groups):
    scales = groups.abs().amax(-1)
    return torch.where(scales > 0, scales, 1.0)
