# Built from notebooks/text/07_kernels.py by `cs336lite build`: edit that file, not this one.
"""What a GPU's hardware does with a kernel, in plain numbers: banks of shared memory, programs on a multiprocessor, tiles.

Nothing here needs a GPU or Triton. Built in notebooks/07_kernels.ipynb.
"""

from collections import Counter


def bank_conflicts(stride: int, banks: int = 32) -> int:
    """Turns that 32 threads take to read 4-byte numbers ``stride`` apart from shared memory; 1 is no conflict.

    >>> bank_conflicts(1), bank_conflicts(2), bank_conflicts(33)
    (1, 2, 1)

    ValueError for a stride below 1. Built in notebooks/07_kernels.ipynb.
    """
    if stride < 1:
        raise ValueError(f"the stride is {stride}: it must be 1 or more")
    return max(Counter(thread * stride % banks for thread in range(32)).values())


def resident_programs(
    threads: int, registers: int, shared: int, *, sm_registers: int = 65_536, sm_shared: int = 233_472, sm_threads: int = 2_048
) -> int:  # fmt: skip
    """Programs that one SM holds at once; ``registers`` of a thread, ``shared`` bytes. The limits are an H100's.

    Registers are given out in eights, and each program takes 1 KiB of shared memory more.

    >>> resident_programs(threads=256, registers=32, shared=0)
    8

    Built in notebooks/07_kernels.ipynb.
    """
    by_registers = sm_registers // (threads * -(-registers // 8) * 8)
    return min(by_registers, sm_shared // (shared + 1_024), sm_threads // threads, 32)
