"""Leaves attention unsolved; the module relies on it.

fails: attention.divides_by_the_root, attention.weights_run_over_keys, attention.lengths_differ, attention.broadcasts, attention.any_number_in_front, attention.mask_may_be_left_out, attention.true_may_attend, attention.mask_broadcasts, attention.masked_never_wins, attention.mask_in_float16, attention.nothing_to_attend_to, attention.nothing_to_learn_from, attention.attention_gradients, attention.attention_keeps_the_dtype, attention.attention_changes_nothing, attention.attention_together, attention.masked_attention_together
names: not solved yet
points: 75-75
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    raise NotImplementedError


class MultiHeadAttention(MultiHeadAttention):
    def __init__(self, *args, attend=scaled_dot_product_attention, **options):
        super().__init__(*args, attend=attend, **options)
