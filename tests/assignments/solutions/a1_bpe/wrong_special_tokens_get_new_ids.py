"""Gives each special token a new id, also one that the vocabulary holds.

fails: special_tokens.names_are_literal, special_tokens.leftmost_then_longest, special_tokens.missing_ones_get_the_next_free_ids, encode_iterable.special_tokens_across_borders, encode_iterable.reads_on_beside_special_tokens
names: a special token that the vocabulary holds is given a new id
"""

from _base import *


class Tokenizer(Tokenizer):
    def add_special_tokens(self):
        for name in self.special_tokens:
            self.id_of[name.encode()] = max(self.bytes_of) + 1
            self.bytes_of[self.id_of[name.encode()]] = name.encode()
