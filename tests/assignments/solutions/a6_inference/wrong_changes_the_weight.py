"""The weight is divided in place.

fails: quantize.quantize_dtypes
names: changes the weight
"""

from _base import *


def quantize_int8(weight, group_size):
    check_size(weight, group_size)
    groups = cut(weight.float() if weight.dtype != torch.float32 else weight, group_size)
    scales = scales_of(groups)
    return integers(groups.div_(scales[..., None])).reshape(weight.shape), scales
