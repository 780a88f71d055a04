"""The warm-up is one forward too long.

fails: pipeline.pipeline_together, pipeline.held, pipeline.few_microbatches
names: more than num_stages - stage
"""

from _base import *


def warm_up(stage, num_stages):
    return num_stages - stage
