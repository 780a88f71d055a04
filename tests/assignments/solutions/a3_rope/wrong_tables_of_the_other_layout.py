"""Tables doubled by cat, as the layout half needs them, with neighbours as pairs.

fails: rotation.each_pair_has_its_own_speed, rotation.lengths_are_kept, rotation.whole_rotations_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: must lie in the layout of x
points: 72-78
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def forward(self, x, token_positions):
        if self.layout == "half":
            return super().forward(x, token_positions)
        cos, sin = (torch.cat((table, table), dim=-1) for table in self.rows(x, token_positions))
        first, second = x[..., 0::2], x[..., 1::2]
        other = torch.stack((-second, first), dim=-1).flatten(-2)
        return (x * cos + other * sin).to(x.dtype)
