"""Keeps tables where they were made.

fails: module.tables_lie_on_the_device
names: device is ignored
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def keep(self, angles, device):
        super().keep(angles, None)
