"""bucket_bytes counts numbers.

fails: buckets.bucket_by_bucket
names: a float32 has four bytes
"""

from _base import *


def bytes_of(parameter):
    return parameter.numel()
