"""Written whole: takes a byte's value and 256 + rank for ids, without a look at the vocabulary.

fails: encode.ids_come_from_the_vocabulary, encode.reads_gpt2_files
names: ids are computed
"""

from _base import *


class Tokenizer(Tokenizer):
    def token_id(self, token):
        if not hasattr(self, "made"):
            self.made = {left + right: 256 + rank for (left, right), rank in self.rank_of.items()}
        return token[0] if len(token) == 1 else self.made[token]
