"""Each permutation goes the other way.

fails: layouts.interleaved_to_half_permutes, layouts.half_to_interleaved_permutes, layouts.weights_move_both_ways
names: goes the other way
points: 90-96
"""

from _base import *


interleaved_to_half, half_to_interleaved = half_to_interleaved, interleaved_to_half
