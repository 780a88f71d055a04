"""Counts as many experts as the greatest index says.

fails: balance.idle_experts_count, router.logits_of_any_tokens
names: fails when an expert gets no token
"""

from _base import *


class TopKRouter(TopKRouter):
    def fractions(self, p, indices, weights):
        return torch.bincount(indices.flatten()) / indices.numel()
