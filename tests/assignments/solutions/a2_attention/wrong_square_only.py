"""Takes it that there are as many keys as queries.

fails: attention.weights_run_over_keys, attention.lengths_differ
names: queries, keys and values may differ in number
points: 97-99
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    n = Q.shape[-2]
    allowed = torch.ones(n, n, dtype=torch.bool) if mask is None else mask
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    return softmax(scores.masked_fill(~allowed, float("-inf")), -1) @ V
