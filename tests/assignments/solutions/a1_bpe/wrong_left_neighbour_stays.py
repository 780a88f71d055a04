"""Lowers the count of what stands to the right of a merge, and not of what stands to its left.

fails: train.an_ordinary_text_is_learned, count_pairs.follows_earlier_merges, train.stops_when_no_pair_is_left, train.long_runs_agree
may: pretokenize.letters_of_every_script, train.does_not_recount_everything, train.does_not_scan_all_words
names: the pairs beside it must lose
points: 65-80
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        self.chosen = super().choose(counts, merges)
        return self.chosen

    def lower(self, counts, pair, times):
        if pair[1] != self.chosen[0] or pair == self.chosen:
            super().lower(counts, pair, times)


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
