"""Keeps cosines and sines as parameters.

fails: module.there_are_no_parameters
names: are parameters
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def keep(self, angles, device):
        self.cos, self.sin = nn.Parameter(angles.cos().float()), nn.Parameter(angles.sin().float())
