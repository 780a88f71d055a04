"""Rank 0 gets the last part.

fails: tensor.cutting
names: counts the parts from the end
"""

from _base import *


def shard(weight, rank, world_size, dim):
    return weight.tensor_split(world_size, dim)[world_size - 1 - rank].clone()
