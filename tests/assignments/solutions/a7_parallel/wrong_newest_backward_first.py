"""The newest micro-batch goes backward first.

fails: pipeline.pipeline_together, pipeline.few_microbatches
names: the oldest goes first
"""

from _base import *


def one_forward_one_backward(stage, num_stages, num_microbatches):
    first = min(warm_up(stage, num_stages), num_microbatches)
    order, held = [], []
    for i in range(num_microbatches):
        order.append(("forward", i))
        held.append(i)
        if len(held) > first:
            order.append(("backward", held.pop()))
    return order + [("backward", i) for i in held[::-1]]
