"""Pages are in float32 whatever dtype is asked for.

fails: paged.blocks_counted
names: another dtype than the one that PagedCache was given
"""

from _base import *


class PagedCache(PagedCache):
    def __init__(self, num_blocks, block_size, num_kv_heads, d_head, *, dtype=torch.float32):
        super().__init__(num_blocks, block_size, num_kv_heads, d_head)
