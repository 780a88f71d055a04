"""Decodes the bytes of each id on their own.

fails: decode.joins_bytes_before_decoding, decode.an_ordinary_text_comes_back
names: join the bytes of all ids first
"""

from _base import *


class Tokenizer(Tokenizer):
    def decode(self, ids):
        return "".join(super(Tokenizer, self).decode([i]) for i in ids)
