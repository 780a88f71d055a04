"""Merges only the first occurrence in a word, in training.

fails: merge.merges_every_occurrence, merge.runs_merge_from_left_to_right, train.long_runs_agree
names: only the first occurrence in a word is merged
"""

from _base import *


class Mistaken(Training):
    def merge(self, word, pair):
        for at in range(len(word) - 1):
            if word[at : at + 2] == pair:
                return (*word[:at], pair[0] + pair[1], *word[at + 2 :])
        return word


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
