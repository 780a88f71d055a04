"""The z-loss comes with the coefficient of a training loop.

fails: z_loss.z_together
names: its coefficient belongs to the training loop
points: 95
"""

from _base import *


class TopKRouter(TopKRouter):
    def z(self, logits):
        return 0.001 * super().z(logits)
