"""Too few blocks are an IndexError.

fails: paged.no_blocks
names: another exception
"""

from _base import *


class PagedCache(PagedCache):
    def check_blocks(self, seq, count):
        try:
            super().check_blocks(seq, count)
        except ValueError:
            raise IndexError("too few blocks") from None
