"""Cuts at a pattern of all special tokens, which is empty without any.

fails: encode.nothing_at_all
names: without special tokens encode goes wrong
points: 97-99
heavy: every text is cut into single characters
"""

from _base import *


class Tokenizer(Tokenizer):
    def special_pattern(self):
        return regex.compile("|".join(map(regex.escape, sorted(self.special_tokens, key=len, reverse=True))))
