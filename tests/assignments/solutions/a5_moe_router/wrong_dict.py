"""A dict in place of fields.

fails: router.names_of_output
names: must return a RouterOutput
points: 95-99
"""

from _base import *


class TopKRouter(TopKRouter):
    def forward(self, x):
        return vars(super().forward(x))
