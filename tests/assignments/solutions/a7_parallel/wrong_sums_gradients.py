"""Gradients are summed over ranks.

fails: buckets.buckets_together, buckets.bucket_by_bucket, buckets.none_gradients, buckets.two_dtypes, buckets.left_alone
names: takes the mean
"""

from _base import *


def averaged(total, world_size):
    return total
