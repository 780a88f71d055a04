"""Cuts at the longest special token everywhere, then at the next: a longer one further right wins.

fails: special_tokens.leftmost_then_longest
names: a longer special token further right was preferred
"""

from _base import *


class Tokenizer(Tokenizer):
    def encode(self, text):
        return self.encode_with(text, sorted(self.special_tokens, key=len, reverse=True))

    def encode_with(self, text, names):
        if not names:
            return list(self.encode_text(text))
        ids = []
        for i, part in enumerate(text.split(names[0])):
            if i:
                ids.append(self.id_of[names[0].encode()])
            ids.extend(self.encode_with(part, names[1:]))
        return ids
