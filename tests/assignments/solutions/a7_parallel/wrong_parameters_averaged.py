"""The mean gradient is written into the parameters, too.

fails: buckets.left_alone
names: parameters themselves have changed
"""

from _base import *


def average_gradients(rank, world_size, parameters, bucket_bytes):
    for bucket in buckets_of(included(parameters), bucket_bytes):
        for p in bucket:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        mean = averaged((yield AllReduce(torch.cat([p.grad.flatten() for p in bucket]))), world_size)
        for p, part in zip(bucket, mean.split([p.numel() for p in bucket])):
            p.grad = part.reshape(p.shape)
            p.data -= p.grad
