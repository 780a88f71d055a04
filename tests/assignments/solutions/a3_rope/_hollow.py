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
