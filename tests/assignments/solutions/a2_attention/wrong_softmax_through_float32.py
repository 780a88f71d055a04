"""Computes in float32 what comes in float64.

fails: softmax.softmax_keeps_the_dtype, attention.attention_keeps_the_dtype
names: with the precision of float32
"""

from _base import *


before = softmax


def softmax(x, dim):
    return before(x.float(), dim).to(x.dtype)
