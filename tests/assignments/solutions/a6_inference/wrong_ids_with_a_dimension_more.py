"""sample returns (..., 1).

fails: sampling.draws_by_u, sampling.sampling_together
names: in the shape of u
"""

from _base import *


def sample(probabilities, u, right=sample):
    return right(probabilities, u).unsqueeze(-1)


def draw(weights, u):
    return sample(weights / weights.sum(), u)[0]
