"""Parameters of one shape share a momentum.

fails: optimizer.momenta_are_not_shared, optimizer.groups_have_their_own_values, optimizer.changed_values_are_followed, optimizer.a_training_loop
names: share a momentum
"""

from _base import *


class Lion(Lion):
    def momentum(self, p, group):
        same = next((s["m"] for q, s in self.state.items() if q.shape == p.shape and q.dtype == p.dtype), None)
        if "m" not in self.state[p]:
            self.state[p]["m"] = self.first(p) if same is None else same
        return self.state[p]["m"]
