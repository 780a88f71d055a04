"""Reads its stream in blocks, as if it were always a file.

fails: encode_iterable.equals_encode_on_the_joined_text, encode_iterable.special_tokens_across_borders, encode_iterable.reads_only_what_it_needs, encode_iterable.reads_on_beside_special_tokens, encode_iterable.blocks_of_a_file
names: encode_iterable works with an open file alone
points: 95
"""

from _base import *


class Tokenizer(Tokenizer):
    def encode_iterable(self, iterable):
        yield from self.encode("".join(iter(lambda: iterable.read(1024), "")))
