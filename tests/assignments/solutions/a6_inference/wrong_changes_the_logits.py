"""The greatest logit is subtracted in place.

fails: sampling.sampling_refuses, sampling.sampling_at_the_edges
names: changes the logits
"""

from _base import *


def as_float(z):
    return z.sub_(z.amax(-1, keepdim=True))
