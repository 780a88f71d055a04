"""With k = 1 the last dimension is gone.

fails: gates.one_and_all
names: with a last dimension for k = 1
"""

from _base import *


class TopKRouter(TopKRouter):
    def forward(self, x):
        out = super().forward(x)
        if self.top_k == 1:
            out.weights, out.indices = out.weights.squeeze(-1), out.indices.squeeze(-1)
        return out
