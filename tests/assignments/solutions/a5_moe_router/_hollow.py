from types import SimpleNamespace

import torch
from torch import nn


class Gate(nn.Module):
    """All of a router but the choice."""

    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        super().__init__()
        self.num_experts, self.top_k = num_experts, top_k
        self.gate = nn.Linear(d_model, num_experts, bias=False)
