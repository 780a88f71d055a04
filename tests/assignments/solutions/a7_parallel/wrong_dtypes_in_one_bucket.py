"""Dtypes share buckets, which torch.cat makes float32.

fails: buckets.two_dtypes
names: share a bucket
"""

from _base import *


def buckets_of(parameters, bucket_bytes):
    made, room = [], 0
    for parameter in parameters:
        if not made or bytes_of(parameter) > room:
            made.append([])
            room = bucket_bytes
        made[-1].append(parameter)
        room -= bytes_of(parameter)
    return made


def average_gradients(rank, world_size, parameters, bucket_bytes):
    for bucket in buckets_of(included(parameters), bucket_bytes):
        for p in bucket:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        mean = (yield AllReduce(torch.cat([p.grad.flatten() for p in bucket]))) / world_size
        for p, part in zip(bucket, mean.split([p.numel() for p in bucket])):
            p.grad = part.reshape(p.shape).to(p.dtype)
