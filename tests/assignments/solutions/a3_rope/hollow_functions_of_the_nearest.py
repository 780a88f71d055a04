"""Takes the value whose position is nearest, and turns by a rotation that is not the one given.

most: 0
"""

import torch


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    distances = (q_positions[..., :, None] - k_positions[..., None, :]).abs()
    nearest = distances.argmin(dim=-1)
    return v.gather(-2, nearest[..., None].expand(*nearest.shape, v.shape[-1]))


def rotate_part(rope, x, token_positions, rotary_dim):
    part = x[..., :rotary_dim] * token_positions[..., None].cos()
    return torch.cat((part, x[..., rotary_dim:]), dim=-1)
