"""Goes on three tokens further where two were merged.

fails: merge.merges_every_occurrence, pretokenize.undecodable_bytes_are_replaced, count_pairs.follows_earlier_merges, merge.runs_merge_from_left_to_right, merge.joins_only_whole_tokens, train.ties_go_to_the_greatest_pair, train.stops_when_no_pair_is_left, train.an_ordinary_text_is_learned, train.long_runs_agree
names: a merge
"""  # noqa: E501

from _base import *


def merge_eats_three(word, pair):
    merged, at = [], 0
    while at < len(word):
        if word[at : at + 2] == pair:
            merged.append(pair[0] + pair[1])
            at += 3
        else:
            merged.append(word[at])
            at += 1
    return tuple(merged)


class Training(Training):
    def merge(self, word, pair):
        return merge_eats_three(word, pair)
