"""Learns from the text in lower case.

fails: pretokenize.letters_of_every_script, train.an_ordinary_text_is_learned, train.long_runs_agree
may: train.ties_go_to_the_greatest_pair
names: judged when the same text in plain ASCII letters
"""

from _base import *


class Mistaken(Training):
    def read(self, path):
        return super().read(path).lower()


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
