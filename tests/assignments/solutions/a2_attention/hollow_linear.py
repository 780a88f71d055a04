"""A layer of numbers that stay as they are, by the names of the interface.

most: 5
"""

from _base import *


def softmax(x, dim):
    return x / x.abs().sum(dim, keepdim=True)


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    return (scores if mask is None else scores * mask) @ V


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, **rest):
        self.attend = scaled_dot_product_attention
        return super().forward(x, **rest)
