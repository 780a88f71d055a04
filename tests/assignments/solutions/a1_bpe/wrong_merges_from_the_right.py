"""Merges runs of equal tokens from the right, in training and in encoding.

fails: merge.runs_merge_from_left_to_right, train.long_runs_agree, encode.runs_of_one_character, encode_iterable.equals_encode_on_the_joined_text
names: merged from the right
"""

from _base import *


def merge_pair(word, pair):
    merged, end = [], len(word)
    while end > 0:
        if end > 1 and word[end - 2 : end] == pair:
            merged.insert(0, pair[0] + pair[1])
            end -= 2
        else:
            merged.insert(0, word[end - 1])
            end -= 1
    return tuple(merged)
