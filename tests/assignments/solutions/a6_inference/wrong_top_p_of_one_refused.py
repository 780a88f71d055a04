"""top_p = 1 is refused.

fails: sampling.sampling_refuses, sampling.sampling_at_the_edges
names: at the end of what is allowed is refused
"""

from _base import *


def refuse_options(temperature, top_k, top_p, min_p, refuse=refuse_options):
    refuse(temperature, top_k, top_p, min_p)
    if top_p is not None and top_p >= 1:
        raise ValueError("top_p")
