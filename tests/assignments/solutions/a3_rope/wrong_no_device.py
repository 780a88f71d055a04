"""Takes no device.

fails: module.tables_lie_on_the_device
names: device is not accepted
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def __init__(self, theta, d_k, max_seq_len, *, layout="interleaved"):
        super().__init__(theta, d_k, max_seq_len, layout=layout)
