"""Puts the special tokens into the pattern of pre-tokens.

fails: special_tokens.training_finds_any_name
names: behind punctuation is not found
"""

from _base import *


def in_the_pattern(text, special_tokens):
    return regex.findall("|".join([*map(regex.escape, special_tokens), PATTERN]), text)


class Mistaken(Training):
    def pieces(self, text, special_tokens):
        return [piece for piece in in_the_pattern(text, special_tokens) if piece not in special_tokens]


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
