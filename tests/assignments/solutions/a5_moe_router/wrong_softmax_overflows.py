"""exp without the greatest logit subtracted.

fails: gates.different_experts
names: the gates are not numbers
"""

from _base import *


class TopKRouter(TopKRouter):
    def probabilities(self, logits):
        return logits.exp() / logits.exp().sum(-1, keepdim=True)
