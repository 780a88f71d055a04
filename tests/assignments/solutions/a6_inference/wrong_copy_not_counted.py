"""The block for the copy is not counted before.

fails: paged.no_blocks
names: copy a shared block, with no free one
"""

from _base import *


class PagedCache(PagedCache):
    def check_blocks(self, seq, count):
        if self.blocks_for(self.lengths[seq] + count) - len(self.tables[seq]) > self.free_blocks:
            raise ValueError("too few blocks")

    def take(self):
        if 0 not in self.counts:
            raise MemoryError("no block")
        return super().take()
