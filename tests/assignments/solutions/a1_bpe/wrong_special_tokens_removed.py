"""Training removes special tokens, but does not cut there.

fails: special_tokens.training_cuts_the_text
names: special tokens were removed, but the text was not cut
"""

from _base import *


class Mistaken(Training):
    def pieces(self, text, special_tokens):
        for name in sorted(special_tokens, key=len, reverse=True):
            text = text.replace(name, "")
        return pretokenize(text)


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
