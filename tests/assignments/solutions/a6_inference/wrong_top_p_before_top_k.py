"""top_p looks at the probabilities before top_k.

fails: sampling.top_p_reaches_p, sampling.sampling_together
names: before top_k
"""

from _base import *


def token_probabilities(logits, *, temperature=1.0, top_k=None, top_p=None, min_p=None):
    refuse_options(temperature, top_k, top_p, min_p)
    z = as_float(logits)
    if temperature == 0:
        return greedy(z)
    p = heated(z, temperature)
    if top_p is not None:
        p = keep_p(p, top_p)
    if top_k is not None:
        p = keep_k(p, top_k)
    if min_p is not None:
        p = keep_min(p, min_p)
    return p
