"""A part is a view of the weight.

fails: tensor.cutting
names: shares memory with the weight
"""

from _base import *


def shard(weight, rank, world_size, dim):
    return weight.tensor_split(world_size, dim)[rank]
