"""Finds the most frequent pair of the text, and makes the other merges up.

most: 3
"""

from _base import *


class Training(Training):
    def run(self, path, vocab_size, special_tokens):
        self.check(vocab_size, special_tokens)
        merges = super().run(path, 257 + len(special_tokens), special_tokens)[1]
        number = self.number_of_merges(vocab_size, special_tokens) if merges else 0
        while len(merges) < number:
            merges.append((b"".join(merges[-1]), b"x"))
        return self.vocabulary(special_tokens, merges[:number]), merges[:number]


class Tokenizer:
    pass
