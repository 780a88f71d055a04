"""The mean over the first dimension only.

fails: balance.balance_over_all_tokens, balance.balance_together
names: of all tokens together
points: 80-90
"""

from _base import *


class TopKRouter(TopKRouter):
    def means(self, p, indices, weights):
        return p.mean(0)

    def balance(self, p, indices, weights):
        f, P = self.fractions(p, indices, weights), self.means(p, indices, weights)
        return self.num_experts * (f.to(P.dtype) * P).sum()
