"""The fractions are those of tokens.

fails: balance.fractions_of_assignments
names: the fractions are those of tokens
"""

from _base import *


class TopKRouter(TopKRouter):
    def fractions(self, p, indices, weights):
        return super().fractions(p, indices, weights) * self.top_k
