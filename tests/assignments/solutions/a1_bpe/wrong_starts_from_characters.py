"""Starts training from whole characters instead of bytes.

fails: pretokenize.letters_of_every_script, pretokenize.undecodable_bytes_are_replaced, train.ties_go_to_the_greatest_pair
names: it must start from the single bytes
"""

from _base import *


class Mistaken(Training):
    def spell(self, piece):
        return tuple(character.encode() for character in piece)


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
