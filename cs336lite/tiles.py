# Built from notebooks/text/appendix/07x_matmul.py by `cs336lite build`: edit that file, not this one.
"""A matrix product in tiles, and the choice of tile sizes.

Built in notebooks/appendix/07x_matmul.ipynb.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor
from torch.library import custom_op

from cs336lite.backend import BACKEND, INTERPRETED, autocast, check, jit, launch, tl, triton


@jit
def tile_of(program, tiles_m, tiles_n, GROUP: tl.constexpr):
    """Row and column of a program's tile: down GROUP rows, then the next column, so that neighbours share operands."""
    in_group = GROUP * tiles_n
    first = program // in_group * GROUP
    height = tl.minimum(tiles_m - first, GROUP)
    return first + program % in_group % height, program % in_group // height


@jit
def matmul_kernel(
    c_ptr, a_ptr, b_ptr, m, n, k, bucket, c_strides, a_strides, b_strides,
    PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """One (M, N) tile of C = A B, summed over tiles of K; ``bucket`` is for the choice of tiles only."""
    tile_m, tile_n = tile_of(tl.program_id(0), tl.cdiv(m, M), tl.cdiv(n, N), GROUP)
    row, col = (tile_m * M + tl.arange(0, M)).to(tl.int64), (tile_n * N + tl.arange(0, N)).to(tl.int64)
    inner, step = tl.arange(0, K).to(tl.int64), tl.cast(K, tl.int64)  # 64 bits before a stride multiplies it
    a_ptrs = a_ptr + (row % m)[:, None] * a_strides[0] + inner[None, :] * a_strides[1]  # wrapped round: no mask needed
    b_ptrs = b_ptr + inner[:, None] * b_strides[0] + (col % n)[None, :] * b_strides[1]
    total = tl.zeros((M, N), tl.float32)
    for start in range(0, k, K):
        a = tl.load(a_ptrs, mask=inner[None, :] < k - start, other=0.0)
        b = tl.load(b_ptrs, mask=inner[:, None] < k - start, other=0.0)
        if INTERPRETED:  # it cannot multiply bfloat16
            a, b = a.to(tl.float32), b.to(tl.float32)
        total = tl.dot(a, b, total, input_precision=PRECISION)
        a_ptrs += step * a_strides[1]
        b_ptrs += step * b_strides[0]
    c_ptrs = c_ptr + row[:, None] * c_strides[0] + col[None, :] * c_strides[1]
    tl.store(c_ptrs, total.to(c_ptr.dtype.element_ty), mask=(row[:, None] < m) & (col[None, :] < n))


Choices = dict[
    int, list[tuple[dict[str, int], int, int]]
]  # by the width up to which they serve: (tiles, warps, stages)


def tuned(kernel: object, gpu: Choices, here: dict[str, int], key: list[str]) -> object:
    """The kernel with its tile sizes: on the interpreter ``here``; on a GPU the best of those ``gpu`` choices that serve its
    rows, measured on first use and kept on disk for each value of ``key``. What a GPU's shared memory cannot hold is passed over.

    A row is as wide as it has numbers, in float32 four times as wide. Built in notebooks/appendix/07x_matmul.ipynb.
    """
    if triton is None:
        return kernel
    if BACKEND == "interpreter":
        return triton.autotune([triton.Config(here)], key=key)(kernel)
    serving = {
        width: [triton.Config(tile, num_warps=warps, num_stages=stages) for tile, warps, stages in choices]
        for width, choices in gpu.items()
    }

    def fit(configs: list, arguments: dict, BLOCK_D: int = 1, **_: object) -> list:
        """Those for rows of this width; of these the last for small sizes, which are not worth a search."""
        wide = 4 if next(iter(arguments.values())).dtype == torch.float32 else 1
        small = max(arguments["bucket"] // 100**i % 100 for i in range(3)) < 10  # nothing above 512
        choices = serving[min(width for width in serving if width >= BLOCK_D * wide)]
        return choices[-1:] if small else choices

    configs = list(dict.fromkeys(itertools.chain(*serving.values())))
    return triton.autotune(configs, key=key, prune_configs_by={"early_config_prune": fit}, cache_results=True)(kernel)


SMALL = ({"M": 64, "N": 64, "K": 32, "GROUP": 8}, 4, 4)
MATMUL_TILES: Choices = {  # the "row" is a single number
    1: [
        ({"M": 128, "N": 256, "K": 64, "GROUP": 8}, 8, 3),
        ({"M": 256, "N": 128, "K": 64, "GROUP": 8}, 8, 3),
        ({"M": 128, "N": 128, "K": 64, "GROUP": 8}, 4, 4),
        ({"M": 128, "N": 128, "K": 32, "GROUP": 8}, 8, 3),
        ({"M": 128, "N": 64, "K": 64, "GROUP": 8}, 4, 4),
        SMALL,
    ],
    4: [SMALL],
}
tuned_matmul = tuned(matmul_kernel, MATMUL_TILES, {"M": 128, "N": 128, "K": 128, "GROUP": 8}, ["bucket", "PRECISION"])


def precision_of(x: Tensor) -> str:
    """How a kernel multiplies float32: exactly, or in TF32 if torch.set_float32_matmul_precision allows it.

    Built in notebooks/appendix/07x_matmul.ipynb.
    """
    return "ieee" if x.dtype != torch.float32 or torch.get_float32_matmul_precision() == "highest" else "tf32"


def bucket_of(*sizes: int) -> int:
    """One number for sizes of about this magnitude: a choice of tiles serves them all. Built in notebooks/appendix/07x_matmul.ipynb."""
    return sum((size - 1).bit_length() * 100**i for i, size in enumerate(sizes))


@custom_op("cs336lite::matmul", mutates_args=())
def _matmul(a: Tensor, b: Tensor) -> Tensor:
    (m, k), n = a.shape, b.shape[1]
    c = a.new_empty(m, n)

    def grid(tile: dict) -> tuple[int]:
        return (triton.cdiv(m, tile["M"]) * triton.cdiv(n, tile["N"]),)

    sizes = m, n, k, bucket_of(m, n, k)
    launch(tuned_matmul, grid, c, a, b, *sizes, c.stride(), a.stride(), b.stride(), PRECISION=precision_of(a))
    return c


def _gradient_of_matmul(ctx, dc):
    a, b = ctx.saved_tensors
    return _matmul(dc, b.T), _matmul(a.T, dc)  # the strides say "transposed": nothing is copied


_matmul.register_fake(lambda a, b: a.new_empty(len(a), b.shape[1]))
_matmul.register_autograd(_gradient_of_matmul, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))


def matmul(a: Float[Tensor, "..."], b: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The product of (m, k) and (k, n) with any strides, summed in float32. Built in notebooks/appendix/07x_matmul.ipynb."""
    a, b = autocast(a, b)
    check(a=a, b=b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"cannot multiply {tuple(a.shape)} by {tuple(b.shape)}: give (m, k) and (k, n)")
    if BACKEND == "pytorch" or 0 in (*a.shape, *b.shape):
        return a @ b
    return _matmul(a, b)
