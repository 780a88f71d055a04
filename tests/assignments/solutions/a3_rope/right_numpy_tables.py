"""Tables by numpy in float64, a class for them, errors of its own kinds, and permutations as lists of numbers."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


class BadArgument(ValueError):
    pass


class NoSuchPosition(IndexError):
    pass


@dataclass
class Tables:
    cos: torch.Tensor
    sin: torch.Tensor

    @classmethod
    def made(cls, theta, d_k, max_seq_len, device):
        angles = np.outer(np.arange(max_seq_len), np.power(float(theta), -np.arange(0, d_k, 2) / d_k))
        return cls(*(torch.from_numpy(table).to(device) for table in (np.cos(angles), np.sin(angles))))

    def at(self, positions):
        flat = positions.reshape(-1)
        if len(flat) and (flat.min() < 0 or flat.max() >= len(self.cos)):
            raise NoSuchPosition(f"{flat.tolist()}")
        return (table[flat].reshape(*positions.shape, -1) for table in (self.cos, self.sin))


class RotaryPositionalEmbedding(nn.Module):
    def __init__(self, theta: float, d_k: int, max_seq_len: int, device=None, *, layout="interleaved"):
        super().__init__()
        if d_k % 2 == 1:
            raise BadArgument("d_k")
        try:
            self.step = {"interleaved": (1, 2), "half": (d_k // 2, 1)}[layout]
        except KeyError as error:
            raise BadArgument(layout) from error
        self.d_k, self.tables = d_k, Tables.made(theta, d_k, max_seq_len, device)

    def forward(self, x, token_positions):
        to_second, apart = self.step
        first = torch.arange(self.d_k // 2) * apart
        cos, sin = (table.to(x) if x.dtype.itemsize > 4 else table.float() for table in self.tables.at(token_positions))
        a, b = x[..., first], x[..., first + to_second]
        out = x.new_zeros(x.shape)
        out[..., first] = (a * cos - b * sin).to(x.dtype)
        out[..., first + to_second] = (a * sin + b * cos).to(x.dtype)
        return out


def order(n):
    return np.arange(n).reshape(-1, 2).T.ravel()


def interleaved_to_half(x, dim=-1):
    return torch.index_select(x, dim, torch.as_tensor(order(x.shape[dim]).copy()))


def half_to_interleaved(x, dim=-1):
    return torch.index_select(x, dim, torch.as_tensor(order(x.shape[dim]).argsort()))


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    rotated_q = rope(q, q_positions)
    rotated_k = rope(k, k_positions)
    scores = torch.einsum("...qd,...kd->...qk", rotated_q, rotated_k) * q.size(-1) ** -0.5
    scores = scores - scores.amax(dim=-1, keepdim=True)
    weights = scores.exp()
    return (weights / weights.sum(dim=-1, keepdim=True)) @ v


def rotate_part(rope, x, token_positions, rotary_dim):
    mask = torch.arange(x.shape[-1]) < rotary_dim
    turned = nn.functional.pad(rope(x[..., mask], token_positions), (0, x.shape[-1] - rotary_dim))
    return torch.where(mask, turned, x)
