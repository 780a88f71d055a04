"""The rows of the gates are turned round.

fails: gates.renormalised_gates, gates.gates_among_all, gates.gates_together, gates.gates_by_default
names: stand with another
"""

from _base import *


class TopKRouter(TopKRouter):
    def gates(self, h, p, i):
        return super().gates(h, p, i).flip(0)
