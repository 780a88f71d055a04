"""dequantize_int8 multiplies by 127 as well.

fails: quantize.groups_of_a_row, quantize.zero_group, quantize.quantize_dtypes, quantize.rows_that_cannot_be_cut, quantize.quantize_together
names: q * scale
"""

from _base import *


def dequantize_int8(q, scales, right=dequantize_int8):
    return right(q, scales) / 127
