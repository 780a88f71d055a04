"""The weight decay of a group is read once.

fails: optimizer.changed_values_are_followed
names: weight_decay of a group is changed
points: 97-99
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        super().update(p, g, m, {**group, "weight_decay": group.setdefault("first_decay", group["weight_decay"])})
