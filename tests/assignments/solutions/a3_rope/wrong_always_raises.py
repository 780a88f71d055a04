"""Multiplies matrices that do not fit.

fails: angles.speeds_of_the_pairs, angles.nothing_turns_at_position_zero, angles.cosines_are_exact, angles.angles_are_exact_far_away, angles.ordinary_heads_turn_at_the_right_speeds, rotation.neighbours_form_pairs, rotation.pairs_turn_counter_clockwise, rotation.each_pair_has_its_own_speed, rotation.lengths_are_kept, rotation.dtype_is_kept, rotation.float64_stays_exact, rotation.inputs_stay_as_they_are, rotation.gradients_come_back, rotation.whole_rotations_agree, layouts.half_is_the_same_rotation_elsewhere, layouts.whole_halves_agree, positions.positions_in_any_order, positions.rows_have_their_own_positions, positions.heads_share_the_positions_of_their_row, positions.any_number_of_dimensions, positions.the_last_position_is_known, positions.positions_too_far_are_refused, positions.negative_positions_are_refused, positions.whole_batches_agree, module.it_is_a_module, module.there_are_no_parameters, module.state_dict_is_empty, module.tables_lie_on_the_device, module.a_converted_module_is_as_exact, module.odd_sizes_are_refused, module.unknown_layouts_are_refused, module.scores_of_a_model_agree
names: your code raised
points: 20-26
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def turn(self, first, second, cos, sin):
        return first @ cos, second @ sin[..., None, None]
