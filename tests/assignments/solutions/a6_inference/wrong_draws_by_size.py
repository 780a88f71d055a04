"""sample lays probabilities out by their size.

fails: sampling.draws_by_u, sampling.sampling_together, speculative.both_ends, speculative.speculative_together
names: in the order of their size
may: speculative.replacement
"""

from _base import *


def sample(probabilities, u):
    p, order = probabilities.sort(dim=-1, descending=True, stable=True)
    place = (ends_of(p) <= u.double().unsqueeze(-1)).sum(-1, keepdim=True)
    return order.gather(-1, place).squeeze(-1)
