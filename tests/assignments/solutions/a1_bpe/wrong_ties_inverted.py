"""Puts pairs into a min-heap with each byte taken from 255, so that a token comes before the longer ones.

fails: train.ties_go_to_the_greatest_pair, train.long_runs_agree
names: ties turn the bytes round
points: 86-94
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        def turned(token):
            return tuple(255 - byte for byte in token)

        return min(counts, key=lambda pair: (-counts[pair], turned(pair[0]), turned(pair[1])))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
