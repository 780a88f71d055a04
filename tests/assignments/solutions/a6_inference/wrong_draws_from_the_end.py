"""sample counts from the end of the line.

fails: sampling.draws_by_u, sampling.sampling_together, speculative.replacement, speculative.both_ends, speculative.speculative_together
names: sample does not return
"""

from _base import *


def sample(probabilities, u):
    return (ends_of(probabilities) < 1 - u.double().unsqueeze(-1)).sum(-1)
