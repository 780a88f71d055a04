"""A view of all numbers in a row, which there is of a contiguous parameter only.

fails: optimizer.layout_does_not_matter
names: that is not contiguous
points: 98-99
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        super().update(p.view(-1), g.view(-1), m.view(-1), group)
