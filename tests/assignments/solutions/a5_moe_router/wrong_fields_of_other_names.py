"""A dict, with the names of the libraries.

fails: router.names_of_output
names: must return a RouterOutput
points: 95-99
"""

from _base import *


class TopKRouter(TopKRouter):
    def forward(self, x):
        out = super().forward(x)
        return dict(
            router_logits=out.logits,
            topk_idx=out.indices,
            gates=out.weights,
            aux_loss=out.load_balancing_loss,
            router_z=out.z_loss,
        )
