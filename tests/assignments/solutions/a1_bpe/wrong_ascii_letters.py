"""Uses a pattern with the letters a-z, as the `re` module without \\p{L} tempts to.

fails: pretokenize.letters_of_every_script, encode.text_of_every_script
names: only the letters a-z count as letters
"""

from _base import *

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
