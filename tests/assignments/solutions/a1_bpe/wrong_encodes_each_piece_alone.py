"""Encodes each piece of an iterable on its own.

fails: encode_iterable.equals_encode_on_the_joined_text, encode_iterable.special_tokens_across_borders, encode_iterable.blocks_of_a_file
names: each piece is encoded on its own
points: 98
"""

from _base import *


class Tokenizer(Tokenizer):
    def encode_iterable(self, iterable):
        for piece in iterable:
            yield from self.encode(piece)
