"""Returns NaN of the right shape."""

import torch
from torch import nn


def softmax(x, dim):
    return x * float("nan")


def scaled_dot_product_attention(Q, K, V, mask=None):
    return Q @ K.mT @ V * float("nan")


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, num_heads, num_kv_heads=None, **options):
        super().__init__()

    def forward(self, x, **rest):
        return x * float("nan")
