"""The scales come back in the dtype of the weights.

fails: quantize.quantize_dtypes
names: do not come back in float32
"""

from _base import *


def quantize_int8(weight, group_size, right=quantize_int8):
    q, scales = right(weight, group_size)
    return q, scales.to(weight.dtype)
