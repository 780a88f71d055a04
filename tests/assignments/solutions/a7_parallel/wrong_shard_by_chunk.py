"""torch.chunk cuts 7 rows into 3, 3, 1.

fails: tensor.cutting
names: are not 3, 2, 2
"""

from _base import *


def shard(weight, rank, world_size, dim):
    return weight.chunk(world_size, dim)[rank].clone()
