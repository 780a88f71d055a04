"""Orders merges by the id of the token that they make.

fails: encode.ids_come_from_the_vocabulary
names: merges are ordered by their ids
"""

from _base import *

Tokenizer.ranks = lambda self, merges: {tuple(pair): self.id_of[pair[0] + pair[1]] for pair in merges}
