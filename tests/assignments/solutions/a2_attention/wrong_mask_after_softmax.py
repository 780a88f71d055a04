"""Masks the weights, after softmax.

fails: attention.true_may_attend, attention.masked_attention_together, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, cross.context_together, positions.generation_together
names: the mask comes after softmax
points: 50-70
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    weights = softmax(Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1]), -1)
    if mask is not None:
        weights = weights * mask
    return weights @ V
