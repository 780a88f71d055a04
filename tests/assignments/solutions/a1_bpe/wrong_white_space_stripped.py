"""Strips the text between two special tokens in training.

fails: special_tokens.training_cuts_the_text
names: white space beside special tokens is lost
"""

from _base import *


def pretokenize(text, special_tokens=()):
    pattern = special_pattern(special_tokens)
    texts = [part.strip() for part in pattern.split(text)] if pattern else [text]
    return [piece for part in texts for piece in regex.findall(PATTERN, part)]
