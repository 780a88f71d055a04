"""Cuts at the first special token, which must be there.

fails: special_tokens.training_cuts_the_text, special_tokens.training_finds_any_name
names: special tokens other than <|endoftext|>
points: 95-98
"""

from _base import *


class Mistaken(Training):
    def pieces(self, text, special_tokens):
        return [piece for part in text.split("<|endoftext|>") for piece in regex.findall(PATTERN, part)]


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
