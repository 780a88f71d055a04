"""Unpacks (batch, seq, d_model) and takes nothing else.

fails: balance.balance_over_all_tokens, z_loss.z_over_experts, router.names_of_output, router.logits_of_any_tokens
names: your code raised
"""

from _base import *


class TopKRouter(TopKRouter):
    def forward(self, x):
        batch, seq, d_model = x.shape
        return super().forward(x)
