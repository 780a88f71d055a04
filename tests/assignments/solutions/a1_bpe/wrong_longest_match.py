"""Encodes by taking the longest token of the vocabulary from the left.

fails: encode.merges_apply_by_rank, encode.costs_what_the_text_is_long, encode.only_merges_make_tokens, encode.an_ordinary_text_is_encoded
names: the longest token of the vocabulary is taken from the left
"""

from _base import *


class Tokenizer(Tokenizer):
    def tokens(self, piece):
        data, at, found = piece.encode(), 0, []
        while at < len(data):
            end = len(data)
            while data[at:end] not in self.id_of:
                end -= 1
            found.append(data[at:end])
            at = end
        return found
