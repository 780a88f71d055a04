"""The two losses have each other's name.

fails: router.names_of_output
names: each other's name
points: 95-99
"""

from _base import *


class TopKRouter(TopKRouter):
    def forward(self, x):
        out = super().forward(x)
        out.z_loss, out.load_balancing_loss = out.load_balancing_loss, out.z_loss
        return out
