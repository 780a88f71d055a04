"""Takes the softmax over the queries.

fails: attention.weights_run_over_keys, attention.mask_broadcasts
names: softmax runs over the queries
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return softmax(scores, -2) @ V
