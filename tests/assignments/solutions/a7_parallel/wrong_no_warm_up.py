"""Each forward is followed by its backward.

fails: pipeline.pipeline_together, pipeline.held, pipeline.few_microbatches
names: wait longer than they must
"""

from _base import *


def warm_up(stage, num_stages):
    return 0
