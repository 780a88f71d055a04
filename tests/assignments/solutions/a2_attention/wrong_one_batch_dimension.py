"""Names a batch dimension, so that a matrix alone is refused.

fails: attention.any_number_in_front
names: any number of dimensions may stand there
points: 98-98
"""

from _base import *


from einops import einsum


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = einsum(Q, K, "b ... q d, b ... k d -> b ... q k") / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return einsum(softmax(scores, -1), V, "b ... q k, b ... k d -> b ... q d")
