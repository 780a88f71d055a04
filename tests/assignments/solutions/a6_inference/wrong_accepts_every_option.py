"""No value of an option is refused.

fails: sampling.sampling_refuses
names: that cannot be
"""

from _base import *


def refuse_options(temperature, top_k, top_p, min_p):
    pass
