"""One matrix in which each head has its queries, keys and values together; no sharing.

fails: multi_head.has_its_parameters, multi_head.refuses_bad_sizes, grouped.fewer_projections, grouped.neighbours_share, grouped.one_for_all, grouped.repeated_for_attend, positions.what_the_cache_is_given, grouped.grouped_together, positions.generation_together
names: q_proj is missing among the registered parameters
points: 78-84
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def make_projections(self, bias):
        if self.num_kv_heads != self.num_heads:
            raise ValueError("this one does not share heads")
        self.in_proj = nn.Linear(self.d_model, 3 * self.num_heads * self.d_head, bias=bias)
        self.out_proj = nn.Linear(self.num_heads * self.d_head, self.d_model, bias=bias)

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        q, k, v = self.split(self.in_proj(x), self.num_heads).chunk(3, dim=-1)
        if context is not None:
            _, k, v = self.split(self.in_proj(context), self.num_heads).chunk(3, dim=-1)
            q, k, v = self.normalise(q, k, v)
        else:
            q, k, v = self.look_back(q, k, v, x, token_positions, cache)
            if self.causal:
                causal = self.causal_mask(x.shape[1], k.shape[2], x.device)
                mask = self.combine(mask, self.in_order(causal, token_positions))
        return self.out_proj(self.join(self.attend(q, k, v, mask)))

    def split(self, x, heads):
        return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)
