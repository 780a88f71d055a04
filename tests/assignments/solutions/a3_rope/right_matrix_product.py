"""In place on a copy, with the matrix of a quarter turn, and tables made at the first call."""

import torch


class RotaryPositionalEmbedding(torch.nn.Module):
    def __init__(self, theta, d_k, max_seq_len, device=None, layout="interleaved"):
        super().__init__()
        if d_k // 2 * 2 != d_k:
            raise ValueError("an odd number of dimensions")
        if layout not in ["interleaved", "half"]:
            raise ValueError("unknown layout")
        self.theta = theta
        self.d_k = d_k
        self.max_seq_len = max_seq_len
        self.layout = layout
        self.known = None

    def table(self, device):
        if self.known is None:
            i = torch.arange(self.d_k // 2, dtype=torch.double, device=device)
            angle = torch.arange(self.max_seq_len, device=device).outer(
                torch.exp(-2 * i / self.d_k * math_log(self.theta))
            )
            self.known = torch.stack([angle.cos(), angle.sin()]).float()
        return self.known

    def quarter(self, dtype, device):
        turn = torch.zeros(self.d_k, self.d_k, dtype=dtype, device=device)
        for i in range(self.d_k // 2):
            a, b = (2 * i, 2 * i + 1) if self.layout == "interleaved" else (i, i + self.d_k // 2)
            turn[b, a], turn[a, b] = 1, -1
        return turn

    def forward(self, x, token_positions):
        if token_positions.lt(0).any() or token_positions.ge(self.max_seq_len).any():
            raise ValueError("no such position")
        cos, sin = self.table(x.device)[:, token_positions]
        if self.layout == "interleaved":
            cos, sin = cos.repeat_interleave(2, -1), sin.repeat_interleave(2, -1)
        else:
            cos, sin = torch.cat([cos] * 2, -1), torch.cat([sin] * 2, -1)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        y = wide.clone()
        y *= cos
        y += wide @ self.quarter(wide.dtype, x.device).T * sin
        return y.type(x.dtype)


def math_log(theta):
    return torch.log(torch.tensor(theta, dtype=torch.double))


def interleaved_to_half(x, dim=-1):
    even = x.index_select(dim, torch.arange(0, x.shape[dim], 2))
    odd = x.index_select(dim, torch.arange(1, x.shape[dim], 2))
    return torch.cat([even, odd], dim)


def half_to_interleaved(x, dim=-1):
    first, second = torch.tensor_split(x, 2, dim)
    at = dim if dim >= 0 else dim + x.ndim
    return torch.stack([first, second], at + 1).flatten(at, at + 1)


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    return torch.softmax(rope(q, q_positions) @ rope(k, k_positions).mT * (1 / q.shape[-1] ** 0.5), -1) @ v


def rotate_part(rope, x, token_positions, rotary_dim):
    parts = rope(x[..., :rotary_dim], token_positions), x[..., rotary_dim:]
    return torch.hstack(parts) if x.ndim == 2 else torch.cat(parts, x.ndim - 1)
