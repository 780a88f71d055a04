"""free gives blocks away that a copy still has.

fails: paged.freed
names: count its owners
may: paged.paged_together
"""

from _base import *


class PagedCache(PagedCache):
    def free(self, seq):
        self.known(seq)
        for block in self.tables.pop(seq):
            self.counts[block] = 0
        del self.lengths[seq]
