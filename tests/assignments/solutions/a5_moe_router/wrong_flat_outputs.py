"""What comes in dimensions goes out as rows.

fails: router.logits_of_any_tokens
names: whatever stands in front
"""

from _base import *


class TopKRouter(TopKRouter):
    def forward(self, x):
        return super().forward(x.reshape(-1, x.shape[-1]))
