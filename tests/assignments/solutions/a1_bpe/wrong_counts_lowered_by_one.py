"""Lowers the count of a pair that a merge destroys by 1, not by the word's count.

fails: count_pairs.weighs_words_by_their_count, pretokenize.follows_the_pattern, merge.runs_merge_from_left_to_right, train.an_ordinary_text_is_learned, train.long_runs_agree
may: train.does_not_recount_everything, train.does_not_scan_all_words, pretokenize.line_ends_are_kept, pretokenize.letters_of_every_script, count_pairs.counts_every_position, count_pairs.follows_earlier_merges
names: in plain words of letters the first merge is right
"""

from _base import *


class Mistaken(Training):
    def lower(self, counts, pair, times):
        super().lower(counts, pair, 1)


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
