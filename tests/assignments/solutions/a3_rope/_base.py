import torch
from torch import nn


class RotaryPositionalEmbedding(nn.Module):
    """In parts, so that a wrong solution replaces one of them."""

    def __init__(self, theta, d_k, max_seq_len, device=None, *, layout="interleaved"):
        super().__init__()
        self.theta, self.d_k, self.max_seq_len, self.layout = theta, d_k, max_seq_len, layout
        self.check_arguments()
        self.keep(self.angles(self.all_positions()), device)

    def check_arguments(self):
        if self.d_k % 2:
            raise ValueError("d_k must be even")
        if self.layout not in ("interleaved", "half"):
            raise ValueError("no such layout")

    def all_positions(self):
        return torch.arange(self.max_seq_len)

    def speeds(self):
        return self.theta ** -(torch.arange(0, self.d_k, 2, dtype=torch.float64) / self.d_k)

    def angles(self, positions):
        return positions[:, None] * self.speeds()

    def keep(self, angles, device):
        self.register_buffer("cos", angles.cos().float().to(device), persistent=False)
        self.register_buffer("sin", angles.sin().float().to(device), persistent=False)

    def check_positions(self, positions):
        if positions.min() < 0 or positions.max() >= self.max_seq_len:
            raise ValueError("no such position")

    def rows(self, x, positions):
        self.check_positions(positions)
        return self.cos[positions], self.sin[positions]

    def split(self, x):
        return (x[..., 0::2], x[..., 1::2]) if self.layout == "interleaved" else x.chunk(2, dim=-1)

    def join(self, first, second):
        if self.layout == "interleaved":
            return torch.stack((first, second), dim=-1).flatten(-2)
        return torch.cat((first, second), dim=-1)

    def turn(self, first, second, cos, sin):
        return first * cos - second * sin, first * sin + second * cos

    def finish(self, turned, x):
        return turned.to(x.dtype)

    def forward(self, x, token_positions):
        cos, sin = self.rows(x, token_positions)
        return self.finish(self.join(*self.turn(*self.split(x), cos, sin)), x)


def interleaved_to_half(x, dim=-1):
    n = x.shape[dim]
    return x.index_select(dim, torch.tensor([*range(0, n, 2), *range(1, n, 2)]))


def half_to_interleaved(x, dim=-1):
    n = x.shape[dim]
    return x.index_select(dim, torch.tensor([i // 2 + (i % 2) * (n // 2) for i in range(n)]))


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    scores = rope(q, q_positions) @ rope(k, k_positions).mT
    return (scores / q.shape[-1] ** 0.5).softmax(-1) @ v


def rotate_part(rope, x, token_positions, rotary_dim):
    return torch.cat((rope(x[..., :rotary_dim], token_positions), x[..., rotary_dim:]), -1)
