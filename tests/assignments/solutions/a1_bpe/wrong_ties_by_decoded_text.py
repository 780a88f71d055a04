"""Compares decoded text, in which half a character is U+FFFD.

fails: train.ties_go_to_the_greatest_pair
names: ties compare decoded text
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        return max(counts, key=lambda pair: (counts[pair], *(token.decode(errors="replace") for token in pair)))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
