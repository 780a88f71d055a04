"""A shared block is written to without a copy.

fails: paged.copy_on_write, paged.no_blocks, paged.paged_together
names: copy a shared block before writing
"""

from _base import *


class PagedCache(PagedCache):
    def must_copy(self, seq, count):
        return False
