"""Merges one occurrence after the other, looking through all of the word each time.

fails: encode.costs_what_the_text_is_long
names: far more than four times as long
points: 99
"""

from _base import *


class Tokenizer(Tokenizer):
    def tokens(self, piece):
        word = [bytes([byte]) for byte in piece.encode()]
        while True:
            ranks = [self.rank_of.get(pair, float("inf")) for pair in zip(word, word[1:])]
            if not ranks or min(ranks) == float("inf"):
                return word
            at = ranks.index(min(ranks))
            word[at : at + 2] = [word[at] + word[at + 1]]
