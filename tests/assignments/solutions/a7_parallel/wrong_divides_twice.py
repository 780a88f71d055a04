"""The mean is divided by the number of ranks once more.

fails: buckets.bucket_by_bucket, buckets.none_gradients, buckets.two_dtypes, buckets.left_alone, buckets.buckets_together
names: not the mean of two ranks
"""

from _base import *


def averaged(total, world_size):
    return total / world_size**2
