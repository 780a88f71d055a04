"""An append that is refused has taken blocks.

fails: paged.no_blocks
names: count what is needed before
"""

from _base import *


class PagedCache(PagedCache):
    def check_blocks(self, seq, count):
        while len(self.tables[seq]) < self.blocks_for(self.lengths[seq] + count):
            if not self.free_blocks:
                raise ValueError("too few blocks")
            self.tables[seq].append(self.take())
        super().check_blocks(seq, count)

    def must_copy(self, seq, count):
        table = self.tables[seq][: self.blocks_for(self.lengths[seq])]
        return count > 0 and self.lengths[seq] % self.block_size > 0 and self.counts[table[-1]] > 1

    def copy_last(self, seq):
        last = self.blocks_for(self.lengths[seq]) - 1
        table = self.tables[seq]
        old, new = table[last], self.take()
        self.keys[new], self.values[new] = self.keys[old], self.values[old]
        self.counts[old] -= 1
        table[last] = new
