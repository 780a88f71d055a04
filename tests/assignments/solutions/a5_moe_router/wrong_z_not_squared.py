"""The square is left out.

fails: z_loss.mean_of_squares, z_loss.z_together
names: the square is missing
"""

from _base import *


class TopKRouter(TopKRouter):
    def z(self, logits):
        return logits.logsumexp(-1).mean()
