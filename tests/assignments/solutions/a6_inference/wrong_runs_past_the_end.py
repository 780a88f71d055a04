"""Rounded sums end below 1, and u may lie behind them.

fails: sampling.draws_by_u
names: rounded sums end below 1
"""

from _base import *


def ends_of(p):
    return p.double().cumsum(-1)
