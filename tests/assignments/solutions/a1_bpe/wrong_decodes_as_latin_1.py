"""Takes each byte for a character.

fails: decode.an_ordinary_text_comes_back, decode.joins_bytes_before_decoding, decode.invalid_utf8_is_replaced
names: do not give this text back
points: 95.5
"""

from _base import *


class Tokenizer(Tokenizer):
    def text(self, data):
        return data.decode("latin-1")
