"""Divides the queries in place.

fails: attention.attention_changes_nothing
names: Q was changed
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    Q = Q.mul(Q.shape[-1] ** -0.5) if Q.requires_grad else Q.mul_(Q.shape[-1] ** -0.5)
    scores = Q @ K.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return softmax(scores, -1) @ V
