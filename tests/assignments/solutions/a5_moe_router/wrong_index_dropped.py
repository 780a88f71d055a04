"""An index of no expert is dropped without a word.

fails: dispatch.no_such_expert
names: raise a ValueError
points: 95-99.5
"""

from _base import *


def refuse(indices, experts):
    pass
