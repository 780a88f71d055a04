"""The last backwards are missing.

fails: pipeline.pipeline_together, pipeline.held, pipeline.few_microbatches
names: does not do each micro-batch once
"""

from _base import *


def one_forward_one_backward(stage, num_stages, num_microbatches):
    first = min(warm_up(stage, num_stages), num_microbatches)
    order = [("forward", i) for i in range(first)]
    for i in range(num_microbatches - first):
        order += [("forward", first + i), ("backward", i)]
    return order
