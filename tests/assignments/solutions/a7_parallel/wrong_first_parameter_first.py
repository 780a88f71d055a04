"""Buckets are filled from the first parameter on.

fails: buckets.bucket_by_bucket
names: the last one comes first
"""

from _base import *


def included(parameters):
    return [p for p in parameters if p.requires_grad]
