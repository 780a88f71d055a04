"""einops throughout, angles worked out in forward: nothing is kept but three numbers and a word."""

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

PAIRED = {"interleaved": "... (pair part) -> part ... pair", "half": "... (part pair) -> part ... pair"}
JOINED = {"interleaved": "part ... pair -> ... (pair part)", "half": "part ... pair -> ... (part pair)"}


class RotaryPositionalEmbedding(nn.Module):
    def __init__(self, theta, d_k, max_seq_len, device=None, *, layout="interleaved"):
        super().__init__()
        if d_k % 2:
            raise ValueError(f"{d_k=} is odd")
        if layout not in PAIRED:
            raise ValueError(f"{layout=} is not one of {list(PAIRED)}")
        self.theta, self.d_k, self.max_seq_len, self.layout = theta, d_k, max_seq_len, layout

    def forward(
        self, x: Float[Tensor, "... seq d_k"], token_positions: Int[Tensor, "..."]
    ) -> Float[Tensor, "... seq d_k"]:
        if torch.any(token_positions < 0) or torch.any(token_positions >= self.max_seq_len):
            raise IndexError(f"a position lies outside 0 to {self.max_seq_len - 1}")
        speeds = self.theta ** (torch.arange(0, self.d_k, 2, device=x.device, dtype=torch.float32) / -self.d_k)
        angles = einsum(token_positions.float(), speeds, "..., pair -> ... pair")
        a, b = rearrange(x, PAIRED[self.layout], part=2)
        turned = torch.stack([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()])
        return rearrange(turned, JOINED[self.layout]).to(x.dtype)


def swap(x, dim, pattern):
    return rearrange(x.movedim(dim, -1), pattern, part=2).movedim(-1, dim)


def interleaved_to_half(x, dim=-1):
    return swap(x, dim, "... (pair part) -> ... (part pair)") if x.shape[dim] else x


def half_to_interleaved(x, dim=-1):
    return rearrange(x.movedim(dim, -1), "... (part pair) -> ... (pair part)", part=2).movedim(-1, dim)


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    scores = einsum(rope(q, q_positions), rope(k, k_positions), "... q d, ... k d -> ... q k")
    return einsum(torch.softmax(scores / q.shape[-1] ** 0.5, dim=-1), v, "... q k, ... k d -> ... q d")


def rotate_part(rope, x, token_positions, rotary_dim):
    return torch.concat([rope(x[..., :rotary_dim], token_positions), x[..., rotary_dim:]], axis=-1)
