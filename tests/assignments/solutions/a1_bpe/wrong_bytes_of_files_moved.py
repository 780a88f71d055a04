"""In files the characters from U+0100 onward are read as the bytes 0, 1, 2, and so on, visible ones included.

fails: encode.reads_gpt2_files
names: each of the 256 bytes has a character of its own
points: 99.5-99.5
"""

from _base import *


class Tokenizer(Tokenizer):
    @staticmethod
    def gpt2_bytes():
        prints = [*range(33, 127), *range(161, 173), *range(174, 256)]
        moved = {chr(256 + byte): byte for byte in range(256)}
        return {chr(byte): byte for byte in prints} | moved
