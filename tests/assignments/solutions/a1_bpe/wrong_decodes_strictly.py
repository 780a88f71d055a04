"""Raises for bytes that are not UTF-8.

fails: decode.invalid_utf8_is_replaced
names: decode with errors='replace'
"""

from _base import *

Tokenizer.text = lambda self, data: data.decode("utf-8")
