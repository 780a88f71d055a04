"""The only token of an expert is given as a vector.

fails: dispatch.idle_experts
names: not given a matrix
"""

from _base import *


def call(expert, tokens):
    return expert(tokens.squeeze(0)).reshape(tokens.shape)
