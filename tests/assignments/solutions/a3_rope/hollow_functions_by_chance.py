"""Functions of the right shapes: weights by chance, an order by chance, a part by chance.

most: 0
"""

import torch


def interleaved_to_half(x, dim=-1):
    return x.index_select(dim, torch.randperm(x.shape[dim]))


half_to_interleaved = interleaved_to_half


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    return torch.rand(*q.shape[:-1], k.shape[-2]).softmax(dim=-1) @ v


def rotate_part(rope, x, token_positions, rotary_dim):
    return torch.cat((torch.randn_like(x[..., :rotary_dim]), x[..., rotary_dim:]), dim=-1)
