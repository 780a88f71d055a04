"""Multiplies queries by keys that are not transposed.

fails: attention.divides_by_the_root, attention.weights_run_over_keys, attention.lengths_differ, attention.broadcasts, attention.any_number_in_front, attention.mask_may_be_left_out, attention.true_may_attend, attention.mask_broadcasts, attention.masked_never_wins, attention.mask_in_float16, attention.nothing_to_attend_to, attention.nothing_to_learn_from, attention.attention_gradients, attention.attention_keeps_the_dtype, attention.attention_changes_nothing, attention.attention_together, attention.masked_attention_together, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, cross.context_together, positions.generation_together
names: your code raised RuntimeError
points: 40-60
"""

from _base import *


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return softmax(scores, -1) @ V
