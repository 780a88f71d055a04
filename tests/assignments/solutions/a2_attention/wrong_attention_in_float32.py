"""Computes in float32 and forgets to go back.

fails: attention.attention_keeps_the_dtype
names: return the dtype of the inputs
"""

from _base import *


before = scaled_dot_product_attention


def scaled_dot_product_attention(Q, K, V, mask=None):
    return before(Q.float(), K.float(), V.float(), mask)
