"""A full shared block is copied, too.

fails: paged.copy_on_write
names: a full block is copied when a copy goes on
"""

from _base import *


class PagedCache(PagedCache):
    def must_copy(self, seq, count):
        table = self.tables[seq]
        return count > 0 and len(table) > 0 and self.counts[table[-1]] > 1
