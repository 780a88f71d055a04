"""Adds what a merge makes, but never takes away what it destroys, except the pair itself.

fails: count_pairs.follows_earlier_merges, train.stops_when_no_pair_is_left, train.an_ordinary_text_is_learned, train.long_runs_agree
may: train.does_not_recount_everything, train.does_not_scan_all_words
names: the pairs
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        self.chosen = super().choose(counts, merges)
        return self.chosen

    def merge(self, word, pair):
        self.merged = super().merge(word, pair)
        return self.merged

    def lower(self, counts, pair, times):
        if pair == self.chosen:
            counts.pop(pair, None)
        elif pair in self.pairs(self.merged):
            super().lower(counts, pair, times)  # it is counted again with the new word


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
