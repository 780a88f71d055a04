"""The last block is copied though nobody shares it.

fails: paged.freed, paged.no_blocks
names: whose other owner was freed is copied all the same
"""

from _base import *


class PagedCache(PagedCache):
    def must_copy(self, seq, count):
        self.shared = getattr(self, "shared", set())
        return bool(count and self.lengths[seq] % self.block_size and self.tables[seq][-1] in self.forked())

    def forked(self):
        return getattr(self, "all_forked", set())

    def fork(self, seq):
        self.all_forked = self.forked() | set(self.tables.get(seq, []))
        return super().fork(seq)
