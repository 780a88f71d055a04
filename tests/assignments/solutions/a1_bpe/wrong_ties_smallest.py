"""Breaks ties in favour of the smallest pair.

fails: train.ties_go_to_the_greatest_pair, train.long_runs_agree
names: ties go to the smallest pair
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        return min(counts, key=lambda pair: (-counts[pair], pair))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
