"""With special tokens it yields nothing before the end.

fails: encode_iterable.reads_on_beside_special_tokens
names: whole input is read
points: 99
"""

from _base import *


class Tokenizer(Tokenizer):
    def encode_iterable(self, iterable):
        if len(self.special_tokens) > 1:
            return iter(self.encode("".join(iterable)))
        return super().encode_iterable(iterable)
