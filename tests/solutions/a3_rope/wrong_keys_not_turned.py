"""Turns queries only.

fails: relative.each_has_its_own_positions
names: only one of queries and keys is turned
"""

from _base import *


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    return (rope(q, q_positions) @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v
