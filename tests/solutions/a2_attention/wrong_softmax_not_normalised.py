"""Takes powers of e and does not divide them by their sum.

fails: softmax.divides_by_the_sum, softmax.along_the_dimension, softmax.scores_of_any_size, softmax.nothing_to_choose, softmax.nothing_to_learn, softmax.softmax_keeps_the_dtype, softmax.softmax_changes_nothing, softmax.softmax_gradient, attention.divides_by_the_root, attention.weights_run_over_keys, attention.true_may_attend, attention.mask_broadcasts, attention.masked_never_wins, attention.mask_in_float16, attention.nothing_to_attend_to, attention.attention_gradients, attention.attention_keeps_the_dtype, attention.attention_changes_nothing
names: the powers are not divided by their sum
"""

from _base import *


@in_float32
def softmax(x, dim):
    peak = x.detach().amax(dim, keepdim=True)
    return (x - torch.where(peak.isneginf(), 0, peak)).exp()
