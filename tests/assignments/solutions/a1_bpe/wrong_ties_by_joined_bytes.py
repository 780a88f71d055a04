"""Breaks ties by the bytes of the token that the merge makes.

fails: train.ties_go_to_the_greatest_pair, train.long_runs_agree
names: ties compare the joined bytes
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        return max(counts, key=lambda pair: (counts[pair], pair[0] + pair[1]))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
