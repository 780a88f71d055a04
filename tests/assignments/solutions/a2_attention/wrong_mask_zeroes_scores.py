"""Gives masked keys the score 0.

fails: attention.true_may_attend, attention.nothing_to_attend_to, attention.masked_attention_together, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, cross.context_together, positions.generation_together
names: the mask is used as a number
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores + mask
    return softmax(scores, -1) @ V
