"""Keeps back the last pre-token only, which is too little for 'll and 're.

fails: encode_iterable.equals_encode_on_the_joined_text, encode_iterable.blocks_of_a_file
names: the ids depend on where the text is cut
"""

from _base import *


class Tokenizer(Tokenizer):
    def encode_iterable(self, iterable):
        if len(self.special_tokens) > 1:
            yield from super(Tokenizer, self).encode_iterable(iterable)
            return
        held = ""
        for piece in iterable:
            pieces = self.pieces(held + piece)
            yield from self.encode("".join(pieces[:-1])) if len(pieces) > 1 else []
            held = pieces[-1] if pieces else ""
        yield from self.encode(held)
