"""Names the dimension of the batch.

fails: relative.attention_takes_any_batch
names: q, k and v of two, three, five or six dimensions
"""

from _base import *
from einops import einsum


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    scores = einsum(rope(q, q_positions), rope(k, k_positions), "batch ... q d, batch ... k d -> batch ... q k")
    return (scores / q.shape[-1] ** 0.5).softmax(-1) @ v
