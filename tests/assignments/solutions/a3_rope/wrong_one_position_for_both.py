"""Turns keys by the positions of the queries.

fails: relative.each_has_its_own_positions, relative.whole_attention_agrees
names: by the same positions
points: 92-98
"""

from _base import *


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    return (rope(q, q_positions) @ rope(k, q_positions).mT / q.shape[-1] ** 0.5).softmax(-1) @ v
