"""Keeps complex numbers in a buffer, of which .to(torch.bfloat16) drops the imaginary part.

fails: module.a_converted_module_is_as_exact
names: of complex ones it leaves the real part
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def keep(self, angles, device):
        self.register_buffer(
            "known", torch.polar(torch.ones_like(angles), angles).to(torch.complex64).to(device), persistent=False
        )

    def rows(self, x, positions):
        self.check_positions(positions)
        turns = self.known[positions]
        return (turns.real, turns.imag) if turns.is_complex() else (turns, torch.zeros_like(turns))
