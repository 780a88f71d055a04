"""The factor is the number of experts that got a token.

fails: balance.idle_experts_count
names: taken for the number of experts that got a token
"""

from _base import *


class TopKRouter(TopKRouter):
    def balance(self, p, indices, weights):
        return super().balance(p, indices, weights) / self.num_experts * len(indices.unique())
