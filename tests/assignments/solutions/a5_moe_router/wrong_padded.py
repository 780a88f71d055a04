"""Every expert gets as many rows as the busiest one, and two more.

fails: dispatch.own_tokens_only
names: more rows
"""

from _base import *


def call(expert, tokens):
    return expert(torch.cat((tokens, torch.zeros_like(tokens[:1]), torch.zeros_like(tokens[:1]))))[:-2]
