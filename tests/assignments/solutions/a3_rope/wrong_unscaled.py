"""Forgets the root of d_k.

fails: relative.scores_are_scaled, relative.whole_attention_agrees
names: scores are not scaled
points: 92-98
"""

from _base import *


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    return (rope(q, q_positions) @ rope(k, k_positions).mT).softmax(-1) @ v
