"""Steps over one token where two were merged.

fails: merge.merges_every_occurrence, pretokenize.merges_stay_inside_pre_tokens, pretokenize.follows_the_pattern, pretokenize.letters_of_every_script, pretokenize.line_ends_are_kept, pretokenize.undecodable_bytes_are_replaced, count_pairs.weighs_words_by_their_count, count_pairs.counts_every_position, count_pairs.follows_earlier_merges, merge.runs_merge_from_left_to_right, merge.joins_only_whole_tokens, train.ties_go_to_the_greatest_pair, train.stops_when_no_pair_is_left, train.an_ordinary_text_is_learned, train.long_runs_agree, special_tokens.training_cuts_the_text, special_tokens.training_finds_any_name
names: the second of its tokens is still there
"""  # noqa: E501

from _base import *


class Training(Training):
    def merge(self, word, pair):
        return tuple(pair[0] + pair[1] if word[at : at + 2] == pair else word[at] for at in range(len(word)))
