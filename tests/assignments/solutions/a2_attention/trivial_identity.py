"""Returns what comes in."""

import torch
from torch import nn


def softmax(x, dim):
    return x


def scaled_dot_product_attention(Q, K, V, mask=None):
    return V


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, num_heads, num_kv_heads=None, **options):
        super().__init__()

    def forward(self, x, **rest):
        return x
