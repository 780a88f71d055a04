"""Parameters that are not trained get a gradient, too.

fails: buckets.left_alone
names: it is left out
"""

from _base import *


def included(parameters):
    return parameters[::-1]
