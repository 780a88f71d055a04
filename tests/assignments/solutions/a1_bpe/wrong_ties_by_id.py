"""Breaks ties by the ids of the two tokens, the greatest first.

fails: train.ties_go_to_the_greatest_pair, train.long_runs_agree
names: ties are broken by token ids
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        ids = {bytes([byte]): byte for byte in range(256)}
        ids |= {left + right: 256 + i for i, (left, right) in enumerate(merges)}
        return max(counts, key=lambda pair: (counts[pair], ids[pair[0]], ids[pair[1]]))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
