"""Answers with numbers that are none, where it can.

most: 0
"""

from _hollow import *


class RotaryPositionalEmbedding(Base):
    def change(self, x, positions):
        return x * float("nan")


def interleaved_to_half(x, dim=-1):
    return x * float("nan")


half_to_interleaved = interleaved_to_half


def rotary_attention(rope, q, k, v, q_positions, k_positions):
    return q @ k.mT @ v * float("nan")


def rotate_part(rope, x, token_positions, rotary_dim):
    return x * float("nan")
