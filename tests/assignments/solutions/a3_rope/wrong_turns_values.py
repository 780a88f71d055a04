"""Turns values as well.

fails: relative.values_are_not_turned, relative.whole_attention_agrees
names: values are turned too
points: 92-98
"""

from _base import *


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    scores = rope(q, q_positions) @ rope(k, k_positions).mT
    return (scores / q.shape[-1] ** 0.5).softmax(-1) @ rope(v, k_positions)
