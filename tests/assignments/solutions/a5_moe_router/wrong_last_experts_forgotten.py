"""The factor is the greatest index that was chosen, and 1.

fails: balance.idle_experts_count
names: depends on the numbers of the experts
"""

from _base import *


class TopKRouter(TopKRouter):
    def balance(self, p, indices, weights):
        return super().balance(p, indices, weights) / self.num_experts * (indices.max() + 1)
