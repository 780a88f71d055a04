"""An unknown id is a KeyError.

fails: decode.unknown_id_is_named
names: an unknown id raised KeyError
"""

from _base import *


class Tokenizer(Tokenizer):
    def decode(self, ids):
        return self.text(b"".join(self.bytes_of[i] for i in ids))
