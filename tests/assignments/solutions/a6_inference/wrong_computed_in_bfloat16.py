"""Scales are computed in the dtype of the weights.

fails: quantize.quantize_dtypes
names: compute in float32
"""

from _base import *


def quantize_int8(weight, group_size):
    check_size(weight, group_size)
    groups = cut(weight, group_size)
    scales = scales_of(groups)
    return integers(groups / scales[..., None]).reshape(weight.shape), scales.float()
