"""Joins the whole iterable before it encodes.

fails: encode_iterable.reads_only_what_it_needs, encode_iterable.reads_on_beside_special_tokens
names: the whole input is read before the first id comes out
"""

from _base import *


class Tokenizer(Tokenizer):
    def encode_iterable(self, iterable):
        yield from self.encode("".join(iterable))
