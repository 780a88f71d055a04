"""Uses the names of special tokens as regular expressions in training.

fails: special_tokens.training_finds_any_name
names: used as regular expressions in training
"""

from _base import *


class Mistaken(Training):
    def pieces(self, text, special_tokens):
        texts = regex.split("|".join(special_tokens), text) if special_tokens else [text]
        return [piece for part in texts for piece in regex.findall(PATTERN, part or "")]


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
