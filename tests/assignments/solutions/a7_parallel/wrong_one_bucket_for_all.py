"""All gradients of a dtype are one bucket.

fails: buckets.bucket_by_bucket
names: all gradients are in one bucket
"""

from _base import *


right_buckets = buckets_of


def buckets_of(parameters, bucket_bytes):
    return right_buckets(parameters, 1 << 40)
