"""Tables made with the math module, one number at a time, and a result that is filled in."""

import math

import torch
from torch import nn


class RotaryPositionalEmbedding(nn.Module):
    def __init__(self, theta, d_k, max_seq_len, device=None, *, layout="interleaved"):
        nn.Module.__init__(self)
        if d_k % 2 != 0:
            raise ValueError("d_k has to be even, got %d" % d_k)
        if layout != "interleaved" and layout != "half":
            raise ValueError("bad layout")
        half = d_k // 2
        self.first = [2 * i for i in range(half)] if layout == "interleaved" else list(range(half))
        self.second = [2 * i + 1 for i in range(half)] if layout == "interleaved" else list(range(half, d_k))
        speeds = [1 / math.pow(theta, 2 * i / d_k) for i in range(half)]
        self.cos = torch.tensor([[math.cos(m * speed) for speed in speeds] for m in range(max_seq_len)], device=device)
        self.sin = torch.tensor([[math.sin(m * speed) for speed in speeds] for m in range(max_seq_len)], device=device)
        self.length = max_seq_len

    def forward(self, x, token_positions):
        for position in token_positions.reshape(-1).tolist():
            if position < 0 or position >= self.length:
                raise IndexError("position %d" % position)
        cos = self.cos.to(x.device)[token_positions]
        sin = self.sin.to(x.device)[token_positions]
        out = torch.zeros_like(x)
        a, b = x[..., self.first] * 1.0, x[..., self.second] * 1.0
        out[..., self.first] = (a * cos - b * sin).to(x.dtype)
        out[..., self.second] = (b * cos + a * sin).to(x.dtype)
        return out


def interleaved_to_half(x, dim=-1):
    parts = x.unbind(dim)
    return torch.stack(list(parts[0::2]) + list(parts[1::2]), dim)


def half_to_interleaved(x, dim=-1):
    parts = x.unbind(dim)
    half = len(parts) // 2
    return torch.stack([part for both in zip(parts[:half], parts[half:]) for part in both], dim)


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    q = rope(q, q_positions) / math.sqrt(math.sqrt(q.shape[-1]))
    k = rope(k, k_positions) / math.sqrt(math.sqrt(k.shape[-1]))
    weights = (q @ k.transpose(-2, -1)).exp()
    return weights @ v / weights.sum(-1, keepdim=True)


def rotate_part(rope, x, token_positions, rotary_dim):
    if rotary_dim == x.shape[-1]:
        return rope(x, token_positions)
    out = torch.empty_like(x)
    out[..., rotary_dim:] = x[..., rotary_dim:]
    out[..., :rotary_dim] = rope(x[..., :rotary_dim], token_positions)
    return out
