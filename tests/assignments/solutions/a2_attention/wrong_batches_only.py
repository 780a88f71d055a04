"""Knows tensors of three dimensions only.

fails: attention.broadcasts, attention.any_number_in_front, attention.mask_broadcasts, attention.attention_together, attention.masked_attention_together, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, cross.context_together, positions.generation_together
names: the dimensions in front of (q, d), (k, d) and (k, dv) must broadcast
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    batch = max(Q.shape[0], K.shape[0]) if Q.ndim > 2 else 1
    if Q.ndim == 2:
        return scaled_dot_product_attention(Q[None], K[None], V[None], mask)[0]
    scores = torch.bmm(Q, K.transpose(-2, -1)) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.bmm(softmax(scores, -1), V)
