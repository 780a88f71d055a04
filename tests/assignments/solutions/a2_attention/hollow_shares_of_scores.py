"""Divides positive numbers by their sum, without powers of e, and attends so; the projections are right.

most: 5
"""

from _base import *


def softmax(x, dim):
    powers = torch.sigmoid(x)
    return powers / powers.sum(dim, keepdim=True).clamp(min=1e-6)


def scaled_dot_product_attention(Q, K, V, mask=None):
    powers = torch.nn.functional.elu(Q @ K.transpose(-2, -1)) + 1
    if mask is not None:
        powers = powers * mask
    total = powers.sum(-1, keepdim=True)
    return powers / torch.where(total == 0, 1, total) @ V


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, **rest):
        self.attend = scaled_dot_product_attention
        return super().forward(x, **rest)
