"""Adds special tokens to the vocabulary that it was given.

fails: special_tokens.tokenizer_leaves_its_arguments
names: changed the vocabulary
points: 99
"""

from _base import *


class Tokenizer(Tokenizer):
    def __init__(self, vocab, merges, special_tokens=None):
        for name in special_tokens or []:
            if name.encode() not in vocab.values():
                vocab[max(vocab) + 1] = name.encode()
        super().__init__(vocab, merges, special_tokens)
