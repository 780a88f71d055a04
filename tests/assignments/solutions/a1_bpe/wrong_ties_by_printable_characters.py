"""Breaks ties by GPT-2's printable characters, in which a space comes after all letters.

fails: train.ties_go_to_the_greatest_pair, train.long_runs_agree
names: ties compare GPT-2's printable characters
"""

from _base import *


class Mistaken(Training):
    def choose(self, counts, merges):
        character = {byte: c for c, byte in Tokenizer.gpt2_bytes().items()}

        def shown(token):
            return "".join(character[byte] for byte in token)

        return max(counts, key=lambda pair: (counts[pair], shown(pair[0]), shown(pair[1])))


def train_bpe(input_path, vocab_size, special_tokens):
    return Mistaken().run(input_path, vocab_size, special_tokens)
