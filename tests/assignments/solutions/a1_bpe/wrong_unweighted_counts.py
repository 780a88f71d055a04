"""Counts each distinct word once.

fails: count_pairs.weighs_words_by_their_count, pretokenize.follows_the_pattern, train.an_ordinary_text_is_learned, train.long_runs_agree
names: each distinct word is counted once
"""

from _base import *


class Mistaken(Training):
    def weigh(self, times):
        return 1


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
