"""A collective does the work.

fails: ring.neighbours, ring.uneven_chunks, ring.own_memory, ring.shapes_and_dtypes, ring.ring_together
names: made of Send and Receive alone
"""

from _base import *


def ring_all_reduce(rank, world_size, x):
    return (yield AllReduce(x))
