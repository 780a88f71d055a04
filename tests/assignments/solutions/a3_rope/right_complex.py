"""Complex numbers, as in Meta's Llama: a pair is a number, and to turn it is to multiply. No buffer at all."""

import torch
from torch import nn


class RotaryPositionalEmbedding(nn.Module):
    def __init__(self, theta, d_k, max_seq_len, device=None, *, layout="interleaved"):
        super().__init__()
        if d_k % 2 != 0 or d_k <= 0:
            raise ValueError(f"odd d_k {d_k}")
        if layout not in {"interleaved", "half"}:
            raise ValueError(layout)
        freqs = 1.0 / (theta ** (torch.arange(0, d_k, 2)[: (d_k // 2)].float() / d_k))
        freqs = torch.outer(torch.arange(max_seq_len).float(), freqs)
        self.freqs_cis = torch.polar(torch.ones_like(freqs), freqs).to(device)
        self.layout = layout

    def forward(self, x, token_positions):
        if (token_positions < 0).any():
            raise IndexError("negative position")
        turns = self.freqs_cis.to(x.device)[token_positions]
        wide = x.double() if x.dtype == torch.float64 else x.float()
        if self.layout == "half":
            numbers = torch.complex(*wide.chunk(2, dim=-1)) * turns
            return torch.cat((numbers.real, numbers.imag), dim=-1).type_as(x)
        numbers = torch.view_as_complex(wide.reshape(*x.shape[:-1], -1, 2).contiguous()) * turns
        return torch.view_as_real(numbers).flatten(-2).type_as(x)


def interleaved_to_half(x, dim=-1):
    return torch.cat([x.movedim(dim, -1)[..., 0::2], x.movedim(dim, -1)[..., 1::2]], dim=-1).movedim(-1, dim)


def half_to_interleaved(x, dim=-1):
    last = x.movedim(dim, -1)
    out = torch.empty_like(last)
    out[..., 0::2], out[..., 1::2] = last.chunk(2, dim=-1)
    return out.movedim(-1, dim)


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    return nn.functional.scaled_dot_product_attention(rope(q, q_positions), rope(k, k_positions), v)


def rotate_part(rope, x, token_positions, rotary_dim):
    turned, rest = x.split([rotary_dim, x.shape[-1] - rotary_dim], dim=-1)
    return torch.cat([rope.forward(turned, token_positions), rest], dim=-1)
