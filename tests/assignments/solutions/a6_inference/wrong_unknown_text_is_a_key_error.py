"""A text that there is not is a KeyError.

fails: paged.freed
names: must be a ValueError
"""

from _base import *


class PagedCache(PagedCache):
    def known(self, seq):
        self.tables[seq]
