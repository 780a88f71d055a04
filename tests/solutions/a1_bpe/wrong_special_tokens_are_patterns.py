"""Does not escape the names of special tokens.

fails: special_tokens.names_are_literal
names: special tokens are used as regular expressions
"""

from _base import *


def special_pattern(special_tokens):
    longest_first = sorted(special_tokens, key=len, reverse=True)
    return regex.compile("|".join(longest_first)) if longest_first else None
