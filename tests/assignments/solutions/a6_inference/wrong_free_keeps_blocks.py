"""free forgets a text and keeps its blocks.

fails: paged.freed, paged.no_blocks
names: are not free again
"""

from _base import *


class PagedCache(PagedCache):
    def free(self, seq):
        self.known(seq)
        del self.tables[seq], self.lengths[seq]
