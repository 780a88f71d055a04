"""Keyed by the place in the group, so groups share.

fails: optimizer.momenta_are_not_shared, optimizer.groups_have_their_own_values, optimizer.changed_values_are_followed, optimizer.checkpoints_hold_the_momenta, optimizer.a_training_loop
names: groups share a momentum
points: 75-82
"""

from _base import *


class Lion(Lion):
    def momentum(self, p, group):
        place = next(i for i, q in enumerate(group["params"]) if q is p)
        kept = self.__dict__.setdefault("kept", {})
        return kept.setdefault(place, self.first(p))
