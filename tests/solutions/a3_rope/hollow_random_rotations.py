"""Has a random orthogonal matrix for each position: lengths stay, and no angle grows.

most: 0
"""

import torch
from torch import nn


class Base(nn.Module):
    """All of an embedding but the rotation."""

    def __init__(self, theta, d_k, max_seq_len, device=None, *, layout="interleaved"):
        super().__init__()
        if d_k % 2 or layout not in ("interleaved", "half"):
            raise ValueError
        self.theta, self.d_k, self.max_seq_len, self.layout = theta, d_k, max_seq_len, layout

    def angles(self, positions):
        angles = positions[..., None] * self.theta ** -(torch.arange(0, self.d_k, 2) / self.d_k)
        if self.layout == "half":
            return torch.cat((angles, angles), dim=-1)
        return angles.repeat_interleave(2, dim=-1)

    def forward(self, x, token_positions):
        if int(token_positions.min()) < 0 or int(token_positions.max()) >= self.max_seq_len:
            raise ValueError
        return self.change(x, token_positions).to(x.dtype)


class RotaryPositionalEmbedding(Base):
    def change(self, x, positions):
        turned = torch.empty(x.shape, dtype=torch.float64)
        where = positions.expand(x.shape[:-1])
        for position in where.unique().tolist():
            numbers = torch.Generator().manual_seed(position)
            matrix = torch.linalg.qr(torch.randn(self.d_k, self.d_k, generator=numbers, dtype=torch.float64))[0]
            chosen = where == position
            turned[chosen] = x[chosen].double() @ matrix.T
        return turned
