# Built from notebooks/text/appendix/04x_engine.py by `cs336lite build`: edit that file, not this one.
"""Token ids in a file, and batches of them that two numbers determine.

Every random number of a run comes from seeds made of (seed, step, purpose), so no state has to be kept.

Shapes: ``batch`` sequences of ``seq`` tokens.

Built in notebooks/appendix/04x_engine.ipynb.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cs336lite.runs import check_ids, open_ids, whole_blocks, written


def generator(seed: int, step: int, purpose: int = 0) -> torch.Generator:
    """Random numbers for one purpose of one step: the same for the same three numbers, unrelated for others."""
    return torch.Generator().manual_seed(seed_of(seed, step, purpose))


def seed_of(*numbers: int) -> int:
    """A seed of 63 bits made of some numbers, each at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def write_tokens(path: str | Path, ids: Iterable[int], vocab_size: int) -> int:
    """Write ids as they come to an .npy file, as uint16 where the vocabulary allows; returns how many there were.

    Raises ValueError for what is no whole number, and for an id outside 0 <= id < vocab_size; no file is written then.
    """
    dtype, count = np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32 if vocab_size <= 2**32 else np.uint64), 0

    def header() -> None:  # numpy pads it, so that a larger count takes no more room
        shape = {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(file, shape)

    with written(path) as beside, open(beside, "wb") as file:
        header()
        for block in whole_blocks(ids):
            if block.min() < 0 or block.max() >= vocab_size:
                raise ValueError(f"ids from {block.min()} to {block.max()}, but vocab_size is {vocab_size}")
            file.write(block.astype(dtype).tobytes())
            count += block.size
        file.seek(0)
        header()
    return count


class Tokens:
    """Token ids to train on: ``Tokens("train.npy")``, mapped into memory, or ``Tokens(ids)``.

    A file that holds ids and nothing else, as nanoGPT's do, needs their type: ``Tokens("train.bin", dtype=np.uint16)``.

    >>> inputs, targets = Tokens(range(100)).batch(2, 3, torch.Generator().manual_seed(0))
    >>> (targets - inputs).tolist()
    [[1, 1, 1], [1, 1, 1]]
    """

    def __init__(self, source: str | Path | Sequence[int] | np.ndarray, dtype: Any = None) -> None:
        self.path = Path(source).resolve() if isinstance(source, str | Path) else None
        self.dtype = dtype  # of the numbers in a file without a header
        self.ids = open_ids(self.path or source, dtype)

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type, tuple]:  # another process maps the same file
        return type(self), (self.ids,) if self.path is None else (self.path, self.dtype)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the ids, whatever holds them."""
        digest = hashlib.sha256()
        for start in range(0, len(self.ids), 2**20):
            digest.update(self.ids[start : start + 2**20].astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    def batch(
        self, batch_size: int, seq: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """Windows that begin anywhere, each position as likely as any other, and their next tokens, as int64.

        Raises ValueError when there are not more than ``seq`` tokens.
        """
        check_ids(self.ids, seq)
        starts = torch.randint(len(self) - seq, (batch_size, 1), generator=generator).numpy()
        windows = torch.from_numpy(self.ids[starts + np.arange(seq + 1)].astype(np.int64))
        return windows[:, :-1], windows[:, 1:]
