"""Takes positions that are given for each vector of x, and none that broadcast.

fails: positions.heads_share_the_positions_of_their_row, module.odd_sizes_are_refused, module.there_are_no_parameters, rotation.dtype_is_kept, module.state_dict_is_empty, rotation.inputs_stay_as_they_are, module.a_converted_module_is_as_exact, positions.the_last_position_is_known, module.unknown_layouts_are_refused, module.it_is_a_module
names: are not accepted
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def forward(self, x, token_positions):
        if token_positions.shape != x.shape[:-1]:
            raise ValueError("a position for each vector is needed")
        return super().forward(x, token_positions)
