"""Expects every special token in the vocabulary.

fails: special_tokens.missing_ones_get_the_next_free_ids
names: must be added with the next free id
"""

from _base import *

Tokenizer.add_special_tokens = lambda self: None
