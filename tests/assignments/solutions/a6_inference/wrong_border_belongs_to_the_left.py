"""A u equal to a border belongs to the token on its left.

fails: sampling.draws_by_u
names: probability 0
"""

from _base import *


def sample(probabilities, u):
    return (ends_of(probabilities) < u.double().unsqueeze(-1)).sum(-1)
