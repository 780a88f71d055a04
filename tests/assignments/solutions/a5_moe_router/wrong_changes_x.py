"""Centres the tokens in place, unless autograd forbids it.

fails: router.logits_of_any_tokens
names: x is changed
"""

from _base import *


class TopKRouter(TopKRouter):
    def forward(self, x):
        out = super().forward(x)
        if not x.requires_grad:
            x -= x.mean(-1, keepdim=True)
        return out
