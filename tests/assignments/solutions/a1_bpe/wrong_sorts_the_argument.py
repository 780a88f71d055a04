"""Sorts the list of special tokens in place.

fails: train.arguments_are_left_unchanged
names: the list special_tokens was changed
"""

from _base import *


def train_bpe(input_path, vocab_size, special_tokens):
    special_tokens.sort(key=len, reverse=True)
    return Training().run(input_path, vocab_size, special_tokens)
