"""Gives each merge with its right token first.

fails: pretokenize.merges_stay_inside_pre_tokens, pretokenize.follows_the_pattern, pretokenize.letters_of_every_script, pretokenize.line_ends_are_kept, pretokenize.undecodable_bytes_are_replaced, count_pairs.weighs_words_by_their_count, count_pairs.counts_every_position, count_pairs.follows_earlier_merges, merge.merges_every_occurrence, merge.runs_merge_from_left_to_right, merge.joins_only_whole_tokens, train.ties_go_to_the_greatest_pair, train.ids_are_in_order, train.vocab_size_is_the_whole_size, train.no_special_tokens_are_needed, train.stops_when_no_pair_is_left, train.small_sizes_are_refused, train.double_tokens_are_refused, train.empty_tokens_are_refused, train.arguments_are_left_unchanged, train.an_ordinary_text_is_learned, train.long_runs_agree, train.does_not_recount_everything, train.does_not_scan_all_words, special_tokens.training_cuts_the_text, special_tokens.training_finds_any_name
names: the two tokens of each merge are exchanged
"""

from _base import *


def train_bpe(input_path, vocab_size, special_tokens):
    vocab, merges = Training().run(input_path, vocab_size, special_tokens)
    return vocab, [(right, left) for left, right in merges]
