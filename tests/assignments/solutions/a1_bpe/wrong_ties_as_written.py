"""Compares how the bytes are written.

fails: train.ties_go_to_the_greatest_pair
may: train.long_runs_agree
names: ties compare how bytes are written
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        return max(counts, key=lambda pair: (counts[pair], repr(pair)))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
