"""Training takes special tokens as ordinary text.

fails: special_tokens.training_cuts_the_text, train.long_runs_agree, special_tokens.training_finds_any_name
names: special tokens are counted in training
"""

from _base import *


class Mistaken(Training):
    def pieces(self, text, special_tokens):
        return pretokenize(text)


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
