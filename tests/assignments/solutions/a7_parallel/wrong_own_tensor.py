"""Nothing is sent.

fails: ring.neighbours, ring.uneven_chunks, ring.own_memory, ring.shapes_and_dtypes, ring.ring_together
names: nothing has been added
"""

from _base import *


def ring_all_reduce(rank, world_size, x):
    yield from ()
    return x.clone()
