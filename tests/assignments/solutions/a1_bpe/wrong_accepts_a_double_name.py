"""Lets a special token be given twice.

fails: train.double_tokens_are_refused
names: given twice was accepted
points: 99.5
"""

from _base import *


class Mistaken(Training):
    def check(self, vocab_size, special_tokens):
        super().check(vocab_size, list(dict.fromkeys(special_tokens)))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
