"""sample takes the most probable token.

fails: sampling.draws_by_u, sampling.sampling_together, speculative.replacement, speculative.both_ends, speculative.speculative_together
names: takes the most probable token
"""

from _base import *


def sample(probabilities, u):
    return probabilities.argmax(-1)
