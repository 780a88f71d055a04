"""The gate is brought to float32 in place, whatever x is.

fails: router.computed_in_float64
names: in float64
points: 95-99.5
"""

from _base import *


class TopKRouter(TopKRouter):
    def logits(self, x):
        self.gate.to(torch.float32)
        return self.gate(x.float())
