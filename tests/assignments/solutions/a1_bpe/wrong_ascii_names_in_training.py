"""Loses the letters of special tokens that are not ASCII.

fails: special_tokens.training_finds_any_name
names: letters beyond ASCII is not cut out
"""

from _base import *


class Mistaken(Training):
    def pieces(self, text, special_tokens):
        names = [name.encode("ascii", "ignore").decode() for name in special_tokens]
        return super().pieces(text, [name for name in names if name])


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
