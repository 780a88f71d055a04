"""Normalizes over the queries.

fails: relative.scores_are_scaled, relative.each_has_its_own_positions, relative.whole_attention_agrees
names: softmax is over the queries
points: 91-97
"""

from _base import *


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    scores = rope(q, q_positions) @ rope(k, k_positions).mT
    return (scores / q.shape[-1] ** 0.5).softmax(-2) @ v
