"""Integers are rounded down.

fails: quantize.groups_of_a_row, quantize.zero_group, quantize.quantize_dtypes, quantize.rows_that_cannot_be_cut, quantize.quantize_together
names: rounded down
"""

from _base import *


def integers(x):
    return (x + 1e-4).floor().to(torch.int8)
