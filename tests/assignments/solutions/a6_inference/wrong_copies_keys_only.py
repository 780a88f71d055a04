"""Copy on write forgets the values.

fails: paged.copy_on_write, paged.paged_together
names: the other way round
"""

from _base import *


class PagedCache(PagedCache):
    def copy_last(self, seq):
        table = self.tables[seq]
        old, new = table[-1], self.take()
        self.keys[new] = self.keys[old]
        self.counts[old] -= 1
        table[-1] = new
