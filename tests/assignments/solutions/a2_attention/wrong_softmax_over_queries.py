"""Takes the softmax over the queries.

fails: attention.weights_run_over_keys, attention.mask_broadcasts, attention.attention_together, attention.masked_attention_together, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, cross.context_together, positions.generation_together
names: softmax runs over the queries
points: 50-70
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return softmax(scores, -2) @ V
