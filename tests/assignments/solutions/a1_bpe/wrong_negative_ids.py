"""Keeps the vocabulary in a list, so that -1 is its last token.

fails: decode.unknown_id_is_named
names: an id that the vocabulary lacks was accepted
"""

from _base import *


class Tokenizer(Tokenizer):
    def decode(self, ids):
        tokens = [self.bytes_of[i] for i in range(len(self.bytes_of))]
        ids = list(ids)
        for i in ids:
            if i >= len(tokens):
                self.unknown(i)
        return self.text(b"".join(tokens[i] for i in ids))
