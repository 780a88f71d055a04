"""Divides by the root of the size of a value.

fails: attention.divides_by_the_root
names: the scores are divided by the root of dv
points: 96-99
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1) / math.sqrt(V.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return softmax(scores, -1) @ V
