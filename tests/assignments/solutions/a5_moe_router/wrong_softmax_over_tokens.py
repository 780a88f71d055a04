"""Softmax over the first dimension, for the gates.

fails: gates.renormalised_gates, gates.gates_among_all, gates.gates_together, gates.gates_by_default
names: softmax runs over the tokens
"""

from _base import *


class TopKRouter(TopKRouter):
    def gates(self, logits, p, indices):
        return self.normalise(logits.softmax(0).gather(-1, indices))
