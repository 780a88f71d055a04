"""All forwards, then all backwards.

fails: pipeline.pipeline_together, pipeline.held, pipeline.few_microbatches
names: all forwards come first
"""

from _base import *


def one_forward_one_backward(stage, num_stages, num_microbatches):
    some = range(num_microbatches)
    return [("forward", i) for i in some] + [("backward", i) for i in some]
