"""A whole rotation matrix for each position, as the paper draws it."""

import math

import torch
from torch import einsum, nn


class RotaryPositionalEmbedding(nn.Module):
    def __init__(self, theta, d_k, max_seq_len, device=None, *, layout="interleaved"):
        super().__init__()
        if d_k % 2 == 1:
            raise ValueError("d_k is odd")
        pairs = {
            "interleaved": [(2 * i, 2 * i + 1) for i in range(d_k // 2)],
            "half": [(i, i + d_k // 2) for i in range(d_k // 2)],
        }
        if layout not in pairs:
            raise ValueError("layout must be one of " + ", ".join(pairs))
        self.max_seq_len = max_seq_len
        m = torch.arange(max_seq_len, device=device)
        R = torch.zeros(max_seq_len, d_k, d_k, device=device)
        for i, (a, b) in enumerate(pairs[layout]):
            angle = m * math.exp(-2 * i / d_k * math.log(theta))
            R[:, a, a] = R[:, b, b] = torch.cos(angle)
            R[:, a, b] = -torch.sin(angle)
            R[:, b, a] = torch.sin(angle)
        self.register_buffer("R", R, persistent=False)

    def forward(self, x, token_positions):
        if not bool(((token_positions >= 0) & (token_positions < self.max_seq_len)).all()):
            raise ValueError(f"positions must lie in [0, {self.max_seq_len})")
        positions = token_positions.expand(x.shape[:-1])
        wide = torch.promote_types(x.dtype, torch.float32)
        return einsum("...ij,...j->...i", self.R[positions].to(wide), x.to(wide)).to(x.dtype)


def permutation(n):
    P = torch.zeros(n, n)
    for i in range(n // 2):
        P[i, 2 * i] = 1
        P[i + n // 2, 2 * i + 1] = 1
    return P


def interleaved_to_half(x, dim=-1):
    return x.index_select(dim, permutation(x.size(dim)).argmax(1))


def half_to_interleaved(x, dim=-1):
    return x.index_select(dim, permutation(x.size(dim)).argmax(0))


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    logits = einsum("...qd,...kd->...qk", rope(q, q_positions), rope(k, k_positions)) * q.size(-1) ** -0.5
    weights = torch.exp(logits - logits.logsumexp(-1, keepdim=True))
    return einsum("...qk,...kd->...qd", weights, v)


def rotate_part(rope, x, token_positions, rotary_dim):
    y = x.clone()
    y[..., :rotary_dim] = rope(x[..., :rotary_dim].contiguous(), token_positions)
    return y
