"""Steps are called F and B.

fails: pipeline.pipeline_together, pipeline.held, pipeline.few_microbatches
names: neither forward nor backward
"""

from _base import *


def one_forward_one_backward(stage, num_stages, num_microbatches):
    some = range(num_microbatches)
    return [("F", i) for i in some] + [("B", i) for i in some]
