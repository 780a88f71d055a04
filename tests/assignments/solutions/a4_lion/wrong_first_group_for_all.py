"""Goes by the values of the first group.

fails: optimizer.groups_have_their_own_values, optimizer.changed_values_are_followed, optimizer.a_training_loop
names: of its own does not go by them
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        super().update(p, g, m, self.param_groups[0])
