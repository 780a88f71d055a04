"""All logits are doubled, those that are returned as well: a temperature that nobody asked for.

fails: router.logits_of_any_tokens, router.computed_in_float32, router.computed_in_float64, router.router_together
names: they come multiplied by a number
points: 91-95
"""

from _base import *


class TopKRouter(TopKRouter):
    def logits(self, x):
        return super().logits(x) * 2
