"""The warm-up does not look at how many micro-batches there are.

fails: pipeline.few_microbatches
names: a micro-batch is named that does not exist
"""

from _base import *


def one_forward_one_backward(stage, num_stages, num_microbatches):
    first = warm_up(stage, num_stages)
    order = [("forward", i) for i in range(first)]
    for i in range(num_microbatches - first):
        order += [("forward", first + i), ("backward", i)]
    return order + [("backward", i) for i in range(max(num_microbatches - first, 0), num_microbatches)]
