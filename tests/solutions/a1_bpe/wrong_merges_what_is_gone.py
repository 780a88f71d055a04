"""Goes on with pairs that no longer occur.

fails: 
names: no longer stand anywhere
"""

from _base import *


class Mistaken(Training):
    def lower(self, counts, pair, times):
        counts[pair] -= times


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
