"""Gates are the logits of the chosen.

fails: gates.renormalised_gates, gates.gates_among_all, gates.gates_together, gates.gates_by_default
names: the gates are logits
"""

from _base import *


class TopKRouter(TopKRouter):
    def gates(self, logits, p, indices):
        return logits.gather(-1, indices)
