"""Gradients are unpacked in the other order than they were packed.

fails: buckets.buckets_together, buckets.none_gradients, buckets.two_dtypes, buckets.left_alone
names: is not the mean
"""

from _base import *


def average_gradients(rank, world_size, parameters, bucket_bytes):
    for bucket in buckets_of(included(parameters), bucket_bytes):
        for p in bucket:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        mean = averaged((yield AllReduce(torch.cat([p.grad.flatten() for p in bucket]))), world_size)
        parts = mean.split([p.numel() for p in bucket[::-1]])
        for p, part in zip(bucket[::-1], parts):
            p.grad = part.reshape(p.shape)
