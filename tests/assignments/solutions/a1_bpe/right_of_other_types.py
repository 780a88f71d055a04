"""Answers of other types that are as good: named pairs, an ordered dict, tuples of ids, an error of its own."""

from collections import OrderedDict
from typing import NamedTuple

from _base import *


class Merge(NamedTuple):
    left: bytes
    right: bytes


class Refused(ValueError):
    """What cannot be right."""


class Learner(Training):
    def check(self, vocab_size, special_tokens):
        try:
            super().check(vocab_size, special_tokens)
        except ValueError as error:
            raise Refused(str(error)) from None


class Tokenizer(Tokenizer):
    def encode(self, text):
        return tuple(super().encode(text))

    def unknown(self, i):
        raise Refused(f"id {i} is not in the vocabulary")


def train_bpe(input_path, vocab_size, special_tokens):
    vocab, merges = Learner().run(input_path, vocab_size, special_tokens)
    return OrderedDict(vocab), tuple(Merge(*pair) for pair in merges)
