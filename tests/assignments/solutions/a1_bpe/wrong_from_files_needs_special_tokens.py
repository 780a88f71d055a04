"""The special tokens of from_files have no default.

fails: encode.reads_gpt2_files
names: from_files fails without special tokens
points: 99.5
"""

from _base import *


class Tokenizer(Tokenizer):
    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens):
        return super().from_files(vocab_path, merges_path, special_tokens)
