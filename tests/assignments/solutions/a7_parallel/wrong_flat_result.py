"""The result is flat.

fails: ring.shapes_and_dtypes
names: another shape
"""

from _base import *


def ring_all_reduce(rank, world_size, x):
    result = x.clone(memory_format=torch.contiguous_format)
    chunks = result.view(-1).tensor_split(world_size)
    after, before = (rank + 1) % world_size, (rank - 1) % world_size
    for step in range(world_size - 1):
        yield Send(after, chunks[(rank - step) % world_size])
        chunks[(rank - step - 1) % world_size].add_((yield Receive(before)))
    for step in range(world_size - 1):
        yield Send(after, chunks[(rank + 1 - step) % world_size])
        chunks[(rank - step) % world_size].copy_((yield Receive(before)))
    return result.view(-1)
