"""Looks for the first one that is not chosen, and fails when all are.

fails: gates.one_and_all
names: top_k = num_experts fails
"""

from _base import *


class TopKRouter(TopKRouter):
    def choose(self, p):
        return p.topk(self.top_k + 1, dim=-1).indices[..., :-1]
