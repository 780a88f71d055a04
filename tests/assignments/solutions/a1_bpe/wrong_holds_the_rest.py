"""Yields a few ids at once, but reads all the rest before it yields more.

fails: encode_iterable.reads_only_what_it_needs, encode_iterable.reads_on_beside_special_tokens
names: much more text is held than needed
"""

from itertools import islice

from _base import *


class Tokenizer(Tokenizer):
    def encode_iterable(self, iterable):
        ids = super().encode_iterable(iterable)
        yield from islice(ids, 5)
        yield from list(ids)
