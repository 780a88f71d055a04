"""Takes powers of e and does not divide them by their sum.

fails: softmax.divides_by_the_sum, softmax.along_the_dimension, softmax.scores_of_any_size, softmax.nothing_to_choose, softmax.nothing_to_learn, softmax.softmax_keeps_the_dtype, softmax.bfloat16_in_float32, softmax.softmax_changes_nothing, softmax.softmax_gradient, softmax.softmax_together, attention.divides_by_the_root, attention.weights_run_over_keys, attention.true_may_attend, attention.mask_broadcasts, attention.masked_never_wins, attention.mask_in_float16, attention.nothing_to_attend_to, attention.attention_gradients, attention.attention_keeps_the_dtype, attention.attention_changes_nothing, attention.attention_together, attention.masked_attention_together, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, cross.context_together, positions.generation_together
names: the powers are not divided by their sum
"""

from _base import *


@in_float32
def softmax(x, dim):
    peak = x.detach().amax(dim, keepdim=True)
    return (x - torch.where(peak.isneginf(), 0, peak)).exp()
