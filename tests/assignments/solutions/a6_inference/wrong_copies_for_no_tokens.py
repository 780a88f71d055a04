"""An append of no tokens copies a shared block.

fails: paged.copy_on_write
names: an append of no tokens copies a block
"""

from _base import *


class PagedCache(PagedCache):
    def must_copy(self, seq, count):
        return super().must_copy(seq, count or 1)
