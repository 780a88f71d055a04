"""Cuts at a pattern of all special tokens, which is empty without any and matches everywhere.

fails: train.no_special_tokens_are_needed
names: with an empty list of special tokens
points: 97-99
"""

from _base import *


class Mistaken(Training):
    def pieces(self, text, special_tokens):
        texts = regex.split("|".join(map(regex.escape, sorted(special_tokens, key=len, reverse=True))), text)
        return [piece for part in texts for piece in regex.findall(PATTERN, part)]


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
