"""Reads the text and merges any two tokens that stand side by side: nothing is ever counted.

most: 3
"""

from _base import *


class Training(Training):
    def choose(self, counts, merges):
        import random

        return random.Random(len(merges)).choice(sorted(counts))


class Tokenizer:
    pass
