"""Returns zeros of the right shape."""

import torch
from torch import nn


def softmax(x, dim):
    return torch.zeros_like(x)


def scaled_dot_product_attention(Q, K, V, mask=None):
    return Q @ torch.zeros_like(K).mT @ V


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, num_heads, num_kv_heads=None, **options):
        super().__init__()

    def forward(self, x, **rest):
        return torch.zeros_like(x)
