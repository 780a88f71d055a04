"""Takes all that are no smaller than the k-th: more than k when they are equal.

fails: gates.different_experts
names: fails when logits are equal
"""

from _base import *


class TopKRouter(TopKRouter):
    def choose(self, p):
        least = p.topk(self.top_k, dim=-1).values[..., -1:]
        chosen = (p >= least).nonzero()[:, -1].reshape(*p.shape[:-1], self.top_k)
        order = p.gather(-1, chosen).argsort(-1, descending=True)
        return chosen.gather(-1, order)
