"""Splits at white space, so that the spaces are lost in training.

fails: pretokenize.merges_stay_inside_pre_tokens, pretokenize.follows_the_pattern, pretokenize.letters_of_every_script, pretokenize.line_ends_are_kept, train.ties_go_to_the_greatest_pair, train.an_ordinary_text_is_learned, train.long_runs_agree
names: words are cut off the space in front of them
"""

from _base import *


class Mistaken(Training):
    def pieces(self, text, special_tokens):
        pattern = special_pattern(special_tokens)
        return [piece for part in (pattern.split(text) if pattern else [text]) for piece in part.split()]


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
