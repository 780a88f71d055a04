"""One loss for each text.

fails: balance.balance_over_all_tokens, balance.balance_together
names: not one for each text
"""

from _base import *


class TopKRouter(TopKRouter):
    def balance(self, p, indices, weights):
        if p.dim() < 3:
            return super().balance(p, indices, weights)
        return torch.stack([self.balance(*one) for one in zip(p, indices, weights)])
