"""Ignores dim: always the first dimension.

fails: softmax.along_the_dimension, softmax.softmax_together, attention.divides_by_the_root, attention.weights_run_over_keys, attention.lengths_differ, attention.broadcasts, attention.any_number_in_front, attention.mask_may_be_left_out, attention.true_may_attend, attention.mask_broadcasts, attention.masked_never_wins, attention.mask_in_float16, attention.nothing_to_attend_to, attention.nothing_to_learn_from, attention.attention_gradients, attention.attention_keeps_the_dtype, attention.attention_changes_nothing, attention.attention_together, attention.masked_attention_together, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, cross.context_together, positions.generation_together
names: dim is ignored: the weights always run along the first dimension
"""

from _base import *


along = softmax


def softmax(x, dim):
    return along(x, 0)
