"""Does not escape the names of special tokens.

fails: special_tokens.training_finds_any_name, special_tokens.names_are_literal, special_tokens.leftmost_then_longest, special_tokens.missing_ones_get_the_next_free_ids
names: special tokens are used as regular expressions
"""

from _base import *


def special_pattern(special_tokens):
    longest_first = sorted(special_tokens, key=len, reverse=True)
    return regex.compile("|".join(longest_first)) if longest_first else None
