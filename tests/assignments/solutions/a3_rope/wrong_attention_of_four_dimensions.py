"""Transposes and sums along numbered dimensions.

fails: relative.attention_takes_any_batch
names: q, k and v of two, three, five or six dimensions
"""

from _base import *


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    scores = rope(q, q_positions) @ rope(k, k_positions).transpose(2, 3)
    return (scores / q.shape[-1] ** 0.5).softmax(dim=3) @ v
