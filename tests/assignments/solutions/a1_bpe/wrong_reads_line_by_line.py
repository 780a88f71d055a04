"""Cuts the text at its line ends.

fails: pretokenize.line_ends_are_kept
names: cut at its line ends
"""

from _base import *


class Mistaken(Training):
    def pieces(self, text, special_tokens):
        lines = text.split("\n")
        return [piece for line in lines for piece in pretokenize(line + "\n", special_tokens)]


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
