"""As in Hugging Face's code: tables as wide as the head, x * cos + rotate_half(x) * sin."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def rotate_half(x):
    x1 = x[..., : x.shape[-1] // 2]
    x2 = x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


def rotate_every_two(x):
    x1 = x[..., ::2]
    x2 = x[..., 1::2]
    return torch.stack((-x2, x1), dim=-1).flatten(-2)


class RotaryPositionalEmbedding(nn.Module):
    def __init__(self, theta, d_k, max_seq_len, device=None, *, layout="interleaved"):
        super().__init__()
        if d_k & 1:
            raise ValueError("d_k must be even")
        inv_freq = 1.0 / (theta ** (torch.arange(0, d_k, 2, dtype=torch.int64).to(dtype=torch.float) / d_k))
        freqs = torch.einsum("i,j->ij", torch.arange(max_seq_len).float(), inv_freq)
        if layout == "interleaved":
            emb, self.rotate = freqs.repeat_interleave(2, dim=-1), rotate_every_two
        elif layout == "half":
            emb, self.rotate = torch.cat((freqs, freqs), dim=-1), rotate_half
        else:
            raise ValueError(f"unknown layout {layout}")
        self.register_buffer("cos_cached", emb.cos().to(device), persistent=False)
        self.register_buffer("sin_cached", emb.sin().to(device), persistent=False)

    def forward(self, x, token_positions):
        cos = F.embedding(token_positions, self.cos_cached)
        sin = F.embedding(token_positions, self.sin_cached)
        return (x * cos + self.rotate(x) * sin).to(x.dtype)


def interleaved_to_half(x, dim=-1):
    dim = dim % x.ndim
    shape = x.shape
    pairs = x.reshape(*shape[:dim], shape[dim] // 2, 2, *shape[dim + 1 :])
    return pairs.transpose(dim, dim + 1).reshape(shape)


def half_to_interleaved(x, dim=-1):
    dim = dim % x.ndim
    shape = x.shape
    halves = x.reshape(*shape[:dim], 2, shape[dim] // 2, *shape[dim + 1 :])
    return halves.transpose(dim, dim + 1).reshape(shape)


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    q, k = rope(q, q_positions), rope(k, k_positions)
    attn = torch.matmul(q, k.transpose(-1, -2)) / (q.size(-1) ** 0.5)
    attn = F.softmax(attn, dim=-1)
    return torch.matmul(attn, v)


def rotate_part(rope, x, token_positions, rotary_dim):
    q_rot, q_pass = x[..., :rotary_dim], x[..., rotary_dim:]
    return torch.cat((rope(q_rot, token_positions), q_pass), dim=-1)
