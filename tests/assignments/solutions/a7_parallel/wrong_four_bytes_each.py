"""Every number is taken to have four bytes.

fails: buckets.two_dtypes
names: as many bytes of bfloat16 fill other buckets than of float32
"""

from _base import *


def bytes_of(parameter):
    return 4 * parameter.numel()
