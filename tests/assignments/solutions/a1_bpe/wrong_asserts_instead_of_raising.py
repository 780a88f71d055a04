"""Refuses bad arguments with an assertion.

fails: train.small_sizes_are_refused, train.double_tokens_are_refused, train.empty_tokens_are_refused
names: raised AssertionError: raise a ValueError
"""

from _base import *


class Mistaken(Training):
    def check(self, vocab_size, special_tokens):
        assert vocab_size >= 256 + len(special_tokens)
        assert len(set(special_tokens)) == len(special_tokens) and all(special_tokens)


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
