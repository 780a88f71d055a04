"""Checks no argument.

fails: train.small_sizes_are_refused, train.double_tokens_are_refused, train.empty_tokens_are_refused
names: was accepted: raise a ValueError
"""

from _base import *


class Mistaken(Training):
    def check(self, vocab_size, special_tokens):
        pass


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
