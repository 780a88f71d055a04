"""The gates are not solved yet; everything else is.

fails: gates.most_probable_first, gates.renormalised_gates, gates.gates_among_all, gates.one_and_all, gates.different_experts, gates.gates_have_gradients, gates.gates_together, gates.gates_by_default
names: not solved yet
points: 73
"""

from _base import *


def top_k_gates(logits, top_k, renormalize=True):
    raise NotImplementedError


class TopKRouter(TopKRouter):
    def forward(self, x):
        logits = self.logits(x)
        weights, indices, p = top_k_gates(logits, self.top_k, self.renormalize)
        return SimpleNamespace(
            weights=weights,
            indices=indices,
            logits=logits,
            load_balancing_loss=self.balance(p, indices, weights),
            z_loss=self.z(logits),
        )
