"""The copied block keeps its owner.

fails: paged.copy_on_write
names: copied all the same
"""

from _base import *


class PagedCache(PagedCache):
    def copy_last(self, seq):
        old = self.tables[seq][-1]
        super().copy_last(seq)
        self.counts[old] += 1
