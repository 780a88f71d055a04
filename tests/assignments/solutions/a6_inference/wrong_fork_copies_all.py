"""fork copies all blocks.

fails: paged.copy_on_write, paged.no_blocks
names: fork takes blocks
"""

from _base import *


class PagedCache(PagedCache):
    def fork(self, seq):
        self.known(seq)
        copy = self.new()
        keys, values = self.read(seq)
        self.append(copy, keys.clone(), values.clone())
        return copy
