"""Gates from a sigmoid.

fails: gates.renormalised_gates, gates.gates_among_all, gates.gates_together, gates.gates_by_default
names: made by a sigmoid
"""

from _base import *


class TopKRouter(TopKRouter):
    def gates(self, logits, p, indices):
        return self.normalise(logits.sigmoid().gather(-1, indices))
