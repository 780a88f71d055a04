"""Counts what a merge makes once too often in each word.

fails: count_pairs.follows_earlier_merges, merge.runs_merge_from_left_to_right, train.stops_when_no_pair_is_left, train.an_ordinary_text_is_learned, train.long_runs_agree
may: special_tokens.training_cuts_the_text, special_tokens.training_finds_any_name, pretokenize.follows_the_pattern, pretokenize.letters_of_every_script, pretokenize.merges_stay_inside_pre_tokens, pretokenize.line_ends_are_kept, merge.merges_every_occurrence, merge.joins_only_whole_tokens, count_pairs.weighs_words_by_their_count, count_pairs.counts_every_position, train.ties_go_to_the_greatest_pair, train.arguments_are_left_unchanged, train.does_not_recount_everything, train.does_not_scan_all_words
names: in plain words of letters the first merge is right
"""

from _base import *


class Mistaken(Training):
    def merge(self, word, pair):
        self.merged = super().merge(word, pair)
        return self.merged

    def pairs(self, word):
        again = word[1:] if word is getattr(self, "merged", None) else ()
        return [*zip(word, word[1:]), *zip(again, again[1:])]


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
