"""Takes a matrix and nothing else.

fails: router.logits_of_any_tokens, balance.balance_over_all_tokens, z_loss.z_over_experts
names: whatever stands in front
"""

from _base import *


class TopKRouter(TopKRouter):
    def logits(self, x):
        tokens, d_model = x.shape
        return super().logits(x)
