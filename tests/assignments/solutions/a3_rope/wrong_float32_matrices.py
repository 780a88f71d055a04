"""A dense matrix for each position, which multiplies float32 alone.

fails: rotation.dtype_is_kept
names: x in bfloat16, float16 or float64 raises
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def forward(self, x, token_positions):
        cos, sin = self.rows(x, token_positions)
        unit = torch.eye(self.d_k).unflatten(0, (*[1] * token_positions.dim(), self.d_k))  # a row for each dimension
        rows = self.join(*self.turn(*self.split(unit), cos.unsqueeze(-2), sin.unsqueeze(-2)))
        return torch.einsum("...ij,...i->...j", rows, x)
