"""Inverts the mask in place.

fails: attention.attention_changes_nothing
names: mask was changed
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not_(), float("-inf"))
    return softmax(scores, -1) @ V
