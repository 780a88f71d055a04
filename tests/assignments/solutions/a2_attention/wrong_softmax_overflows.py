"""Takes exp of the scores as they are.

fails: softmax.scores_of_any_size, softmax.softmax_together, attention.masked_never_wins
names: scores that are large overflow
"""

from _base import *


@in_float32
def softmax(x, dim):
    powers = x.exp()
    none = x.isneginf().all(dim, keepdim=True)
    return powers / powers.sum(dim, keepdim=True).masked_fill(none, 1)
