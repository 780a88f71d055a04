"""fork shares the table itself.

fails: paged.copy_on_write, paged.paged_together
names: the other way round
"""

from _base import *


class PagedCache(PagedCache):
    def fork(self, seq):
        copy = super().fork(seq)
        self.tables[copy] = self.tables[seq]
        return copy
