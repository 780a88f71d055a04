"""Goes on with pairs that no longer occur.

fails: train.stops_when_no_pair_is_left
names: no longer stand anywhere
"""

from _base import *


class Mistaken(Training):
    def lower(self, counts, pair, times):
        counts[pair] -= times


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
