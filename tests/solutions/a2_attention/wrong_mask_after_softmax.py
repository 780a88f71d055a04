"""Masks the weights, after softmax.

fails: attention.true_may_attend
names: the mask comes after softmax
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    weights = softmax(Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1]), -1)
    if mask is not None:
        weights = weights * mask
    return weights @ V
