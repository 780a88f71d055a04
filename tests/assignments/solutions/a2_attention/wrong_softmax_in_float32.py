"""Returns float32, whatever comes in.

fails: softmax.softmax_keeps_the_dtype, attention.attention_keeps_the_dtype
names: return the dtype of x
"""

from _base import *


before = softmax


def softmax(x, dim):
    return before(x.float(), dim)
