"""Takes the first string of a stream by itself, and fails where there is none.

fails: encode_iterable.equals_encode_on_the_joined_text
names: your code raised StopIteration
points: 99
"""

from _base import *


class Tokenizer(Tokenizer):
    def encode_iterable(self, iterable):
        pieces = iter(iterable)
        first = next(pieces)
        yield from super().encode_iterable(with_first(first, pieces))


def with_first(first, rest):
    yield first
    yield from rest
