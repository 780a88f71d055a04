"""The trick of the first BPE script without its guards: words are texts with spaces between tokens.

fails: merge.joins_only_whole_tokens, train.long_runs_agree
names: also merged where its left part is only the end of a longer token
"""

from _base import *


class Mistaken(Training):
    def merge(self, word, pair):
        shown = " ".join(token.hex() for token in word)
        shown = shown.replace(f"{pair[0].hex()} {pair[1].hex()}", f"{pair[0].hex()}{pair[1].hex()}")
        return tuple(bytes.fromhex(token) for token in shown.split(" "))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
