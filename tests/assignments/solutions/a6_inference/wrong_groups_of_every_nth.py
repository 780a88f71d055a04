"""A group is every n-th weight of a row.

fails: quantize.groups_of_a_row, quantize.zero_group, quantize.quantize_dtypes, quantize.quantize_together
names: every n-th weight
"""

from _base import *


def quantize_int8(weight, group_size):
    check_size(weight, group_size)
    groups = weight.float().reshape(weight.shape[0], group_size, -1).transpose(1, 2)
    scales = scales_of(groups)
    return integers(groups / scales[..., None]).transpose(1, 2).reshape(weight.shape), scales


def dequantize_int8(q, scales):
    groups = q.float().reshape(q.shape[0], -1, scales.shape[1])
    return (groups * scales[:, None]).reshape(q.shape)
