"""The mean is not written back.

fails: buckets.bucket_by_bucket, buckets.none_gradients, buckets.two_dtypes, buckets.left_alone, buckets.buckets_together
names: not been written back
"""

from _base import *


def average_gradients(rank, world_size, parameters, bucket_bytes):
    for bucket in buckets_of(included(parameters), bucket_bytes):
        for p in bucket:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        mean = averaged((yield AllReduce(torch.cat([p.grad.flatten() for p in bucket]))), world_size)
        mean.split([p.numel() for p in bucket])
