"""Has the right shapes, and random numbers in them.

most: 5
"""

from _base import *


def softmax(x, dim):
    return torch.rand_like(x) * (1 + 0 * x.nan_to_num(neginf=0))


def scaled_dot_product_attention(Q, K, V, mask=None):
    return torch.rand_like(Q @ K.transpose(-2, -1)) @ V


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, **rest):
        return self.o_proj(torch.randn(*x.shape[:2], self.num_heads * self.d_head, dtype=x.dtype))
