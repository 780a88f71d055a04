"""Takes means where weights should follow scores, in all three; the projections are right.

most: 5
"""

from _base import *


def softmax(x, dim):
    seen = (x != float("-inf")).to(x.dtype)
    return seen / seen.sum(dim, keepdim=True).clamp(min=1) + 0 * x.nan_to_num(neginf=0)


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = 0 * (Q @ K.transpose(-2, -1))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return softmax(scores, -1) @ V


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, **rest):
        self.attend = scaled_dot_product_attention
        return super().forward(x, **rest)
