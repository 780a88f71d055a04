"""The greatest logit of the whole batch is subtracted, not that of each row.

fails: sampling.sampling_at_the_edges
names: not finite
"""

from _base import *


def heated(z, temperature):
    return torch.softmax((z - z.max()) / temperature, dim=-1)
