"""Looks for the most frequent pair where none is left.

fails: train.stops_when_no_pair_is_left
names: training raised an exception when no pair was left
"""

from _base import *


class Mistaken(Training):
    def nothing_left(self):
        return False


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
