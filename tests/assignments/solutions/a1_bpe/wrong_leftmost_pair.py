"""Encodes by merging the leftmost pair that can be merged.

fails: encode.merges_apply_by_rank, encode.only_merges_make_tokens, encode.an_ordinary_text_is_encoded
names: the leftmost pair is merged first
"""

from _base import *


class Tokenizer(Tokenizer):
    def tokens(self, piece):
        word = [bytes([byte]) for byte in piece.encode()]
        at = 0
        while at < len(word) - 1:
            if (word[at], word[at + 1]) in self.rank_of:
                word[at : at + 2] = [word[at] + word[at + 1]]
                at = max(at - 1, 0)
            else:
                at += 1
        return word
