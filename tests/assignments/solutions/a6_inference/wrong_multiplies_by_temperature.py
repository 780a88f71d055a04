"""Logits are multiplied by the temperature.

fails: sampling.temperature_divides, sampling.sampling_at_the_edges, sampling.sampling_together
names: they are divided by it
"""

from _base import *


def heated(z, temperature):
    return torch.softmax((z - z.amax(-1, keepdim=True)) * temperature, dim=-1)
