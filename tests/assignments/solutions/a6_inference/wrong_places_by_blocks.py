"""Offsets and blocks are exchanged.

fails: paged.blocks_counted, paged.copy_on_write, paged.paged_together
names: does not stand in block
"""

from _base import *


class PagedCache(PagedCache):
    def place(self, seq, i):
        return self.tables[seq][i % len(self.tables[seq])], (i // len(self.tables[seq])) % self.block_size
