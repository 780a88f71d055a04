"""Cuts behind each line end, also where more white space follows.

fails: encode_iterable.equals_encode_on_the_joined_text
may: encode_iterable.blocks_of_a_file
names: depend on where the text is cut
"""

from _base import *


class Tokenizer(Tokenizer):
    def safe_cut(self, text):
        cut = super().safe_cut(text)
        return len(text) if text.endswith("\n") and not self.may_grow(text, len(text) - 1) else cut
