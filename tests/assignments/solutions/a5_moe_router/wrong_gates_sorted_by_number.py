"""Experts are sorted by their numbers, and their gates are not.

fails: gates.most_probable_first, gates.renormalised_gates, gates.gates_among_all, gates.gates_together, gates.gates_by_default
names: not in the order of descending
"""

from _base import *


class TopKRouter(TopKRouter):
    def choose(self, p):
        return super().choose(p).sort(-1).values

    def gates(self, h, p, i):
        return super().gates(h, p, i).sort(-1, descending=True).values
