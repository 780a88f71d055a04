"""Returns nothing at all."""

import torch
from torch import nn


class RotaryPositionalEmbedding(nn.Module):
    def __init__(self, theta, d_k, max_seq_len, device=None, *, layout="interleaved"):
        super().__init__()

    def forward(self, x, token_positions):
        return None


def interleaved_to_half(x, dim=-1):
    return None


def half_to_interleaved(x, dim=-1):
    return None


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    return None


def rotate_part(rope, x, token_positions, rotary_dim):
    return None
