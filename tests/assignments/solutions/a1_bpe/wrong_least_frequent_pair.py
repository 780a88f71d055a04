"""A heap of counts with the sign forgotten: the least frequent pair comes first.

fails: pretokenize.merges_stay_inside_pre_tokens, pretokenize.follows_the_pattern, pretokenize.letters_of_every_script, pretokenize.line_ends_are_kept, pretokenize.undecodable_bytes_are_replaced, count_pairs.weighs_words_by_their_count, count_pairs.counts_every_position, count_pairs.follows_earlier_merges, merge.merges_every_occurrence, merge.runs_merge_from_left_to_right, merge.joins_only_whole_tokens, train.ties_go_to_the_greatest_pair, train.an_ordinary_text_is_learned, train.long_runs_agree, special_tokens.training_cuts_the_text, special_tokens.training_finds_any_name
names: the rarest pair is merged first
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        return min(counts, key=lambda pair: (counts[pair], pair))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
