"""Turns queries only.

fails: relative.each_has_its_own_positions, relative.whole_attention_agrees
names: only one of queries and keys is turned
points: 92-98
"""

from _base import *


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    return (rope(q, q_positions) @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v
