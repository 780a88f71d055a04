"""Opens the file in text mode, which turns \\r\\n into \\n.

fails: pretokenize.line_ends_are_kept
names: line ends were changed
"""

from _base import *


class Mistaken(Training):
    def read(self, path):
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
