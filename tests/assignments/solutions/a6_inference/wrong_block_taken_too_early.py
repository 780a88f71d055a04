"""A full block asks for the next one at once.

fails: paged.blocks_counted, paged.no_blocks, paged.paged_together
names: a full block asks for the next one at once
"""

from _base import *


class PagedCache(PagedCache):
    def blocks_for(self, length):
        return length // self.block_size + (length > 0)
