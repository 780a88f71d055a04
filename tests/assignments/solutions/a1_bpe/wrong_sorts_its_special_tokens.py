"""Sorts the list of special tokens that the tokenizer was given.

fails: special_tokens.tokenizer_leaves_its_arguments
names: changed the list special_tokens
points: 99
"""

from _base import *


class Tokenizer(Tokenizer):
    def __init__(self, vocab, merges, special_tokens=None):
        super().__init__(vocab, merges, special_tokens)
        if special_tokens:
            special_tokens.sort(key=len, reverse=True)
