"""The temperature has no effect.

fails: sampling.temperature_divides, sampling.sampling_at_the_edges, sampling.sampling_together
names: temperature has no effect
"""

from _base import *


def heated(z, temperature):
    return (
        torch.softmax(z / (1.0 if temperature > 1e-6 else temperature), dim=-1)
        if temperature > 1e-6
        else heated_right(z, temperature)
    )


def heated_right(z, temperature):
    return torch.softmax((z - z.amax(-1, keepdim=True)) / temperature, dim=-1)
