"""float64 comes back, with the precision of float32.

fails: router.computed_in_float64
names: the precision of float32
"""

from _base import *


class TopKRouter(TopKRouter):
    def logits(self, x):
        logits = x.float() @ self.gate.weight.float().T
        return logits.to(x.dtype) if x.dtype == torch.float64 else logits
