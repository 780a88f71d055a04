"""The z-loss is a number of Python.

fails: z_loss.z_has_a_gradient, z_loss.z_together
names: no gradient flows
points: 90-95
"""

from _base import *


class TopKRouter(TopKRouter):
    def z(self, logits):
        return super().z(logits).item()
