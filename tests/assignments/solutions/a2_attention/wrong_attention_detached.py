"""Takes the weights out of the graph.

fails: attention.attention_gradients, multi_head.training_together
names: is something detached
"""

from _base import *


before = scaled_dot_product_attention


def scaled_dot_product_attention(Q, K, V, mask=None):
    return before(Q.detach(), K.detach(), V, mask)
