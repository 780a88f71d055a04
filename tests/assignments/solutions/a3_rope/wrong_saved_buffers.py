"""Leaves persistent as it is.

fails: module.state_dict_is_empty
names: persistent=False
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def keep(self, angles, device):
        self.register_buffer("cos", angles.cos().float().to(device))
        self.register_buffer("sin", angles.sin().float().to(device))
