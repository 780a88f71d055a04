"""Keeps momenta in a dict of its own.

fails: optimizer.checkpoints_hold_the_momenta
names: lacks the momenta
points: 95-99
"""

from _base import *


class Lion(Lion):
    def momentum(self, p, group):
        return self.__dict__.setdefault("kept", {}).setdefault(p, self.first(p))
