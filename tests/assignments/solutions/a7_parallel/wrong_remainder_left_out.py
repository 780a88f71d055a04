"""Chunks of n // p numbers: the last few are never sent.

fails: ring.uneven_chunks
names: do not divide the number
"""

from _base import *


def ring_all_reduce(rank, world_size, x):
    result = x.clone(memory_format=torch.contiguous_format)
    part = x.numel() // world_size
    chunks = [result.view(-1)[i * part : (i + 1) * part] for i in range(world_size)]
    after, before = (rank + 1) % world_size, (rank - 1) % world_size
    for step in range(world_size - 1):
        yield Send(after, chunks[(rank - step) % world_size])
        chunks[(rank - step - 1) % world_size].add_((yield Receive(before)))
    for step in range(world_size - 1):
        yield Send(after, chunks[(rank + 1 - step) % world_size])
        chunks[(rank - step) % world_size].copy_((yield Receive(before)))
    return result
