"""The betas of a group are read once.

fails: optimizer.changed_values_are_followed
names: betas of a group is changed
points: 97-99
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        super().update(p, g, m, {**group, "betas": group.setdefault("first_betas", group["betas"])})
