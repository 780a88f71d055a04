"""The weight is rounded to the dtype of x.

fails: router.computed_in_float32
names: before they are float32
points: 95-99
"""

from _base import *


class TopKRouter(TopKRouter):
    def logits(self, x):
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        return x.to(dtype) @ self.gate.weight.to(x.dtype).to(dtype).T
