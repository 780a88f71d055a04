"""Uses -1e9 in place of -inf.

fails: attention.mask_in_float16, attention.nothing_to_attend_to
names: -1e9 does not fit
points: 97-99.5
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    return softmax(scores, -1) @ V
