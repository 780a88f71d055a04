"""Uses -1e4 in place of -inf, so that float16 holds it.

fails: attention.masked_never_wins, attention.nothing_to_attend_to
names: a masked key wins
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e4)
    return softmax(scores, -1) @ V
