"""Calls each expert once, and looks for its tokens one by one.

fails: dispatch.work_does_not_grow
names: there is a loop over tokens
"""

from _base import *


def where(chosen, e):
    found = [(t, place) for t, row in enumerate(chosen) for place, number in enumerate(row) if int(number) == e]
    rows, places = torch.tensor(found, dtype=torch.int64).reshape(-1, 2).unbind(-1)
    return rows, places
