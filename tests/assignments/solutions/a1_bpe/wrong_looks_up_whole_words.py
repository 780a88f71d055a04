"""Looks for a whole pre-token in the vocabulary first.

fails: encode.only_merges_make_tokens
names: looked up there
points: 98-99
"""

from _base import *


class Tokenizer(Tokenizer):
    def tokens(self, piece):
        return (piece.encode(),) if piece.encode() in self.id_of else super().tokens(piece)
