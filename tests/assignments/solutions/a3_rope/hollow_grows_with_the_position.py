"""Makes every vector longer as its position grows, and turns none.

most: 0
"""

import torch
from torch import nn


class RotaryPositionalEmbedding(nn.Module):
    def __init__(self, theta, d_k, max_seq_len, device=None, *, layout="interleaved"):
        super().__init__()
        if d_k % 2 or layout not in ("interleaved", "half"):
            raise ValueError
        self.max_seq_len = max_seq_len

    def check(self, positions):
        if int(positions.min()) < 0 or int(positions.max()) >= self.max_seq_len:
            raise ValueError

    def forward(self, x, token_positions):
        self.check(token_positions)
        return (x * (1 + token_positions[..., None].to(torch.float32) / 3)).to(x.dtype)
