"""Tries every merge on every word.

fails: encode.costs_what_the_text_is_long
names: with more merges each word takes longer
points: 99
"""

from _base import *


class Tokenizer(Tokenizer):
    def tokens(self, piece):
        word = tuple(bytes([byte]) for byte in piece.encode())
        for pair in self.rank_of:
            word = merge_pair(word, pair)
        return word
