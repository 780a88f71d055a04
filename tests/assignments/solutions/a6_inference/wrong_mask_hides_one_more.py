"""The first token after the padding is hidden.

fails: cache.left_padding, cache.cache_together
names: on the left of each row
"""

from _base import *


class KVCache(KVCache):
    def real(self, seq):
        return torch.arange(self.length + seq) > self.padding[:, None]
