"""Of special tokens that begin at the same place, takes the one listed first.

fails: special_tokens.leftmost_then_longest, special_tokens.training_finds_any_name, encode_iterable.special_tokens_across_borders
names: a shorter special token was taken
"""

from _base import *


def special_pattern(special_tokens):
    return regex.compile("|".join(regex.escape(name) for name in special_tokens)) if special_tokens else None
