"""Learns vocab_size - 256 merges, however many special tokens there are.

fails: train.vocab_size_is_the_whole_size, train.small_sizes_are_refused
names: the vocabulary is larger than vocab_size
"""

from _base import *


class Mistaken(Training):
    def check(self, vocab_size, special_tokens):
        super().check(vocab_size + len(special_tokens), special_tokens)

    def number_of_merges(self, vocab_size, special_tokens):
        return vocab_size - 256


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
