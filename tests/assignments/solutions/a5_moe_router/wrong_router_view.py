"""A view of x in the router.

fails: router.logits_of_any_tokens
names: not contiguous
points: 95-99
"""

from _base import *


class TopKRouter(TopKRouter):
    def forward(self, x):
        x.view(-1, x.shape[-1])
        return super().forward(x)
