"""Streams are cut in front of the last white space before anything else, a special token included.

fails: encode_iterable.special_tokens_across_borders
names: white space right before a special token is cut in two
points: 99.5-99.5
"""

from _base import *


class Tokenizer(Tokenizer):
    def safe_cut(self, text):
        cut = super().safe_cut(text)
        while (border := regex.search(r"(?=\s\S)", text, pos=cut + 1)) and not any(
            self.may_grow(text, at) for at in range(cut, border.start())
        ):
            cut = border.start()
        return cut
