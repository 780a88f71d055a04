"""Keeps each occurrence of a word by itself, so that a merge costs as much as its pair is frequent in the text.

fails: train.does_not_scan_all_words
may: train.does_not_recount_everything
names: keep each distinct word once, with its count
"""

from _base import *


class Counter(list):
    def items(self):
        return [(piece, 1) for piece in self]
