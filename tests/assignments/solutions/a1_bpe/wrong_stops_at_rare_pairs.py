"""Ends when the most frequent pair occurs only once.

fails: train.stops_when_no_pair_is_left
names: a pair that occurs once is a pair too
"""

from _base import *


class Mistaken(Training):
    def run(self, path, vocab_size, special_tokens):
        try:
            return super().run(path, vocab_size, special_tokens)
        except StopIteration as enough:
            return self.vocabulary(special_tokens, enough.value), enough.value

    def choose(self, counts, merges):
        if max(counts.values()) < 2:
            raise StopIteration(merges)
        return super().choose(counts, merges)


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
