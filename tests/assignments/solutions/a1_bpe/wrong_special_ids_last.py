"""Gives the special tokens the ids behind the bytes.

fails: train.ids_are_in_order
names: special tokens come after the bytes
"""

from _base import *


class Mistaken(Training):
    def first_tokens(self, special_tokens):
        names = [name.encode() for name in special_tokens]
        return [*(bytes([byte]) for byte in range(256)), *names]


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
