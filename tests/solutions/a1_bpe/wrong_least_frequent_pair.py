"""A heap of counts with the sign forgotten: the least frequent pair comes first.

fails: train.most_frequent_pair_first
names: merge the most frequent pair first
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        return min(counts, key=lambda pair: (counts[pair], pair))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
