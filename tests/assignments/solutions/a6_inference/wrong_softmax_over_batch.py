"""The softmax runs over the first dimension.

fails: sampling.temperature_divides, sampling.top_k_keeps_k, sampling.top_p_reaches_p, sampling.min_p_of_the_greatest, sampling.sampling_at_the_edges, sampling.sampling_refuses, sampling.sampling_together
names: runs over the batch
"""

from _base import *


def heated(z, temperature):
    return torch.softmax((z - z.amax(-1, keepdim=True)) / temperature if temperature != 1 else z, dim=0)
