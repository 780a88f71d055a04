"""Goes through the ids twice.

fails: decode.ids_may_come_one_by_one
names: gone through only once
points: 99
"""

from _base import *


class Tokenizer(Tokenizer):
    def decode(self, ids):
        if any(i not in self.bytes_of for i in ids):
            raise ValueError(f"one of {list(ids)} is not in the vocabulary")
        return self.text(b"".join(self.bytes_of[i] for i in ids))
