"""Breaks ties by first occurrence, as `max(counts, key=counts.get)` does.

fails: train.ties_go_to_the_greatest_pair, train.long_runs_agree
names: ties are broken
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        return max(counts, key=counts.get)


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
