"""Rows that cannot be cut raise PyTorch's error.

fails: quantize.rows_that_cannot_be_cut
names: must raise a ValueError
"""

from _base import *


def check_size(weight, group_size):
    pass
