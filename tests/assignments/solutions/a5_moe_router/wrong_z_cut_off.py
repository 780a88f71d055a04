"""Logits are cut off so that nothing overflows.

fails: z_loss.z_of_large_logits
names: are they cut off
"""

from _base import *


class TopKRouter(TopKRouter):
    def z(self, logits):
        return logits.clamp(-80, 80).exp().sum(-1).log().square().mean()
