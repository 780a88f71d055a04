"""Noise is added to the logits, as in the noisy gating of Shazeer et al.

fails: gates.renormalised_gates, gates.gates_among_all, gates.one_and_all, gates.gates_have_gradients, gates.gates_together, gates.gates_by_default, balance.fractions_times_probabilities, balance.fractions_of_assignments, balance.balance_has_a_gradient, balance.idle_experts_count, balance.balance_over_all_tokens, balance.balance_together, z_loss.mean_of_squares, z_loss.z_over_experts, z_loss.z_has_a_gradient, z_loss.z_together, router.gate_weight, router.names_of_output, router.logits_of_any_tokens, router.computed_in_float32, router.computed_in_float64, router.bounds_of_top_k, router.router_together
may: z_loss.z_of_large_logits
names: something is drawn at random
"""

from _base import *


class TopKRouter(TopKRouter):
    def logits(self, x):
        h = super().logits(x)
        return h + 0.1 * torch.randn_like(h)
