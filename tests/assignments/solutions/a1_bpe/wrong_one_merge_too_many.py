"""Goes on for one merge after the vocabulary is full.

fails: train.vocab_size_is_the_whole_size
names: one merge too many
points: 98
"""

from _base import *


class Mistaken(Training):
    def number_of_merges(self, vocab_size, special_tokens):
        return vocab_size - 255 - len(special_tokens)


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
