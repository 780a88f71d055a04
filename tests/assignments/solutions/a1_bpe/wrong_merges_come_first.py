"""Returns the merges, then the vocabulary.

fails: train.ids_are_in_order
names: the merges came first
points: 99
"""

from _base import *


def train_bpe(input_path, vocab_size, special_tokens):
    vocab, merges = Training().run(input_path, vocab_size, special_tokens)
    return merges, vocab
