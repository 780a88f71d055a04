"""Written whole: takes a byte's value and 256 + rank for ids, without a look at the vocabulary.

fails: encode.ids_come_from_the_vocabulary, encode.reads_gpt2_files
names: ids are computed
"""

from _base import *


class Tokenizer(Tokenizer):
    def token_id(self, token):
        made = [left + right for left, right in self.rank_of]
        return token[0] if len(token) == 1 else 256 + made.index(token)
