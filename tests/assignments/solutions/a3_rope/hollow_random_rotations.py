"""Has a random orthogonal matrix for each position: lengths stay, and no angle grows.

most: 0
"""

from _hollow import *


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
