"""Decodes the file strictly.

fails: pretokenize.undecodable_bytes_are_replaced
names: decode with errors='replace'
"""

from _base import *


class Mistaken(Training):
    def read(self, path):
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
