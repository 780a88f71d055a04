"""A module that always raises.

fails: multi_head.refuses_bad_sizes, multi_head.each_head_by_itself, multi_head.wide_heads, multi_head.attend_is_a_slot, multi_head.normalises_queries_and_keys, multi_head.module_gradients, multi_head.module_keeps_the_dtype, grouped.fewer_projections, grouped.neighbours_share, grouped.one_for_all, grouped.repeated_for_attend, masks.nobody_sees_the_future, masks.everybody_sees_everybody, masks.both_must_allow, masks.masks_broadcast, masks.mask_with_a_cache, cross.reads_the_context, cross.context_without_positions, cross.context_with_a_mask, positions.rope_turns, positions.given_positions, positions.positions_in_any_order, positions.pieces_see_what_came_before, positions.positions_with_a_cache, positions.what_the_cache_is_given, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, cross.context_together, positions.generation_together
names: your code raised ZeroDivisionError
points: 40-50
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, **rest):
        return x / (1 // 0)
