"""Puts the special tokens into the pattern of pre-tokens when it encodes.

fails: special_tokens.names_are_literal, special_tokens.leftmost_then_longest, encode_iterable.special_tokens_across_borders
names: behind punctuation is not found
"""

from _base import *


class Tokenizer(Tokenizer):
    def encode_all(self, text):
        ids = []
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        for piece in regex.findall("|".join([*map(regex.escape, longest_first), PATTERN]), text):
            ids += [self.id_of[piece.encode()]] if piece in longest_first else self.encode_text(piece)
        return ids
