"""Computes in the dtype of x, and then makes it float32.

fails: router.computed_in_float32
names: rounded before they are float32
"""

from _base import *


class TopKRouter(TopKRouter):
    def logits(self, x):
        logits = x @ self.gate.weight.to(x.dtype).T
        return logits if x.dtype == torch.float64 else logits.float()
