"""Works through large parameters in pieces, and forgets what is left over behind the last whole one.

fails: optimizer.layout_does_not_matter
names: of more than 2**18 numbers
points: 98-99
"""

from _base import *

PIECE = 2**16


class Lion(Lion):
    def update(self, p, g, m, group):
        if p.numel() <= PIECE:
            return super().update(p, g, m, group)
        flat = [t.view(-1) for t in (p, g, m)]
        for i in range(p.numel() // PIECE):
            super().update(*(t[i * PIECE : (i + 1) * PIECE] for t in flat), group)
