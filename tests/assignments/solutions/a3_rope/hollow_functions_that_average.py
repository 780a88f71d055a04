"""Functions of the right shapes: the mean of the values, dimensions in another order, a part that is doubled.

most: 0
"""

import torch


def interleaved_to_half(x, dim=-1):
    return x.roll(1, dim)


def half_to_interleaved(x, dim=-1):
    return x.flip(dim)


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    return v.mean(dim=-2, keepdim=True).expand(*q.shape[:-1], v.shape[-1]).clone()


def rotate_part(rope, x, token_positions, rotary_dim):
    return torch.cat((2 * x[..., :rotary_dim], x[..., rotary_dim:]), dim=-1)
