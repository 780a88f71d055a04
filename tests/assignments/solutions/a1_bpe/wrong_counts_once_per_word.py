"""Counts a pair once in each word that holds it.

fails: count_pairs.counts_every_position, train.long_runs_agree
names: a pair is counted once per word
"""

from _base import *


class Mistaken(Training):
    def pairs(self, word):
        return dict.fromkeys(zip(word, word[1:]))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
