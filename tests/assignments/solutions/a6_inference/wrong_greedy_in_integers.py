"""At temperature 0 the probabilities are integers.

fails: sampling.sampling_at_the_edges
names: no probabilities of the dtype float32
"""

from _base import *


def greedy(z):
    return torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1])
