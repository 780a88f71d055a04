"""Divides scores by the root of the number of heads.

fails: relative.values_are_not_turned, relative.scores_are_scaled, relative.each_has_its_own_positions, relative.attention_takes_any_batch, relative.whole_attention_agrees
names: the result is no attention yet
points: 91-94
"""

from _base import *


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    scores = rope(q, q_positions) @ rope(k, k_positions).mT
    return (scores / q.shape[1] ** 0.5).softmax(-1) @ v
