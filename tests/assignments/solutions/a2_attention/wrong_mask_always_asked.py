"""Has no default for the mask.

fails: attention.mask_may_be_left_out
names: a call without a mask fails
points: 98-98
"""

from _base import *


plain = scaled_dot_product_attention


def scaled_dot_product_attention(Q, K, V, mask):
    return plain(Q, K, V, mask)
