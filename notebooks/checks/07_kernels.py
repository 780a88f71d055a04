"""Checks and hints of the exercises in lecture 07. Nothing here is graded: try as often as you like."""

import torch

from cs336lite.course.answers import ask, like
from cs336lite.course.kernel_lab import start
from cs336lite.course.show import expect_close, expect_equal
from cs336lite.course.spec import check, expect

HINTS = {
    "sectors": [
        "At which byte does the number of thread i begin? In which sector is that byte?",
        "Byte i * stride * itemsize lies in sector number byte // 32. Threads may share a sector: count each once.",
        "len({i * stride * itemsize // 32 for i in range(32)})",
    ],
    "softmax_rows": [
        "Which row is mine, where does it begin, and what should masked columns hold so that they change no sum?",
        "Load x_ptr + row * n + col with mask=col < n and other=-float('inf'); subtract tl.max before tl.exp.",
        "powers = tl.exp(x - tl.max(x, axis=0)); store powers / tl.sum(powers, axis=0) at y_ptr + row * n + col, masked.",
    ],
    "rms_rows": [
        "Load a row of x and all of w. What is summed, and by what is it divided?",
        "r = 1 / tl.sqrt(tl.sum(x * x, axis=0) / n + eps), with zeros where the mask hides.",
        "x and w with other=0.0, then tl.store(y_ptr + row * n + col, x * r * w, mask=col < n).",
    ],
    "online_step": [
        "What is the new maximum? In which units is the old sum, and in which must it be?",
        "The old sum counts exp(x - m). Times exp(m - new) it counts exp(x - new).",
        "new = torch.maximum(m, piece.max()), then s * torch.exp(m - new) + torch.exp(piece - new).sum().",
    ],
    "matmul_tile": [
        "Which rows of a, which columns of b? Draw the two strips, then one step of the loop.",
        "row = program_id(0) * T + arange, col = program_id(1) * T + arange; a at row * k + inner, b at inner * n + col.",
        "for first in range(0, k, T): load both tiles, total = tl.dot(a, b, total, input_precision='ieee'). Store at row * n + col.",
    ],
    "tile_counts": [
        "Up to which key does the first query of the program see? And the last?",
        "A tile is whole when the first query sees its last key: (first + 1) // N tiles. Visited are last // N + 1.",
        "whole and visited, each at most keys // N; the edge is visited - whole, skipped is keys // N - visited.",
    ],
}


def run_sectors(student, *arguments):
    return student.sectors(*arguments)


@check("sectors", title="strides of float32")
def strides(student, rng):
    found = ask(student, int, run_sectors, 2, what="the number of sectors")
    expect(found != 32, "that counts a sector for each thread: threads share sectors, count each once")
    expect(found != 2, "itemsize is missing: a number takes 4 bytes")
    expect_equal(found, 8, "stride 2: thread 31 reads at byte 248")
    stride = rng.choice([8, 16, 32, 40])
    expect_equal(
        ask(student, int, run_sectors, stride, what="the number of sectors"), 32, f"stride {stride}: none shared"
    )


@check("sectors", title="numbers of 2 bytes, and one place for all")
def other_sizes(student, rng):
    found = ask(student, int, run_sectors, 1, 2, what="the number of sectors")
    expect(found != 4, "itemsize is an argument: bfloat16 has 2 bytes")
    expect_equal(found, 2, "32 neighbours of 2 bytes are 64 bytes")
    expect_equal(
        ask(student, int, run_sectors, 0, what="the number of sectors"), 1, "stride 0: all read the same number"
    )
    expect_equal(ask(student, int, run_sectors, 3, what="the number of sectors"), 12, "stride 3")


def launched(student, name, grid, out, inputs, numbers, constants):
    """What a student's kernel writes into a tensor that was nan."""
    _, _, jit, device = start()
    there = [x.to(device) for x in inputs]
    y = torch.full(out, torch.nan, device=device)
    jit(getattr(student, name))[tuple(grid)](y, *there, *numbers, **constants)
    return y.cpu()


def softmax_of(student, x, block):
    y = ask(student, like(x, finite=False), launched, "softmax_rows", [len(x)], list(x.shape), [x], [x.shape[1]], {"BLOCK": block}, what="y")  # fmt: skip
    expect(not y.isnan().all(), "y is all nan: nothing was stored, or −inf minus −inf was computed")
    return y


@check("softmax_rows", title="ordinary rows, narrower than the tile")
def softmax_ordinary(student, rng):
    x = torch.randn(4, 50, generator=torch.Generator().manual_seed(rng.randrange(10**6)))
    y = softmax_of(student, x, 64)
    expect(not y[1:].isnan().any(), "some rows were never written: program r writes row r, at y_ptr + row * n")
    expect(not torch.allclose(y, x.exp(), atol=1e-4), "divide by the sum of the exponentials")
    expect(
        not torch.allclose(y, (x - x.amax(1, keepdim=True)).exp(), atol=1e-4), "divide by the sum of the exponentials"
    )
    top = x.amax(1, keepdim=True).clamp(min=0)
    counted = (x - top).exp() / ((x - top).exp().sum(1, keepdim=True) + 14 * (-top).exp())
    expect(
        not torch.allclose(y, counted, atol=1e-5),
        "masked columns count in the sum as exp(0): load them with other=-inf",
    )
    expect_close(y, x.softmax(1), "four rows of 50 numbers, BLOCK 64", tolerance=1e-5)


@check("softmax_rows", title="large logits")
def softmax_large(student, rng):
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(rng.randrange(10**6))) + 1_000
    y = ask(student, like(x, finite=False), launched, "softmax_rows", [3], [3, 16], [x], [16], {"BLOCK": 16}, what="y")
    expect(
        bool(y.isfinite().all()), "exp of 1,000 overflows: subtract the row's maximum before you take the exponential"
    )
    expect_close(y, x.softmax(1), "logits near 1,000", tolerance=1e-5)


@check("rms_rows", title="rows narrower than the tile")
def rms_ordinary(student, rng):
    draw = torch.Generator().manual_seed(rng.randrange(10**6))
    x, w = torch.randn(3, 50, generator=draw), torch.rand(50, generator=draw) + 0.5
    y = ask(
        student, like(x, finite=False), launched, "rms_rows", [3], [3, 50], [x, w], [50, 1e-5], {"BLOCK": 64}, what="y"
    )
    expect(
        bool(y.isfinite().all()), "y has numbers that are not finite: was every row written, and are masked columns 0?"
    )
    square = (x * x).sum(1, keepdim=True)
    for message, other in (
        ("the mean is over n numbers: you divided by BLOCK", x * w / (square / 64 + 1e-5).sqrt()),
        ("that is the sum of squares; RMSNorm takes the mean", x * w / (square + 1e-5).sqrt()),
        ("the gain w is missing", x / (square / 50 + 1e-5).sqrt()),
        ("that subtracts the mean: LayerNorm does, RMSNorm does not", (x - x.mean(1, keepdim=True)) * w / x.std(1, correction=0, keepdim=True)),
        ("divide by the root, not by the mean square itself", x * w / (square / 50 + 1e-5)),
    ):  # fmt: skip
        expect(not torch.allclose(y, other, atol=1e-4), message)
    expect_close(y, x * w / (square / 50 + 1e-5).sqrt(), "three rows of 50 numbers, BLOCK 64", tolerance=1e-5)


@check("rms_rows", title="a row of zeros")
def rms_zeros(student, rng):
    x, w = torch.zeros(2, 8), torch.ones(8)
    y = ask(
        student, like(x, finite=False), launched, "rms_rows", [2], [2, 8], [x, w], [8, 1e-2], {"BLOCK": 8}, what="y"
    )
    expect(bool(y.isfinite().all()), "a row of zeros divides by zero: eps stands below the root, added to the mean")
    expect_equal(y.tolist(), x.tolist(), "a row of zeros stays zero")
    x = torch.full((1, 8), 0.1)
    y = ask(student, like(x), launched, "rms_rows", [1], [1, 8], [x, w], [8, 0.03], {"BLOCK": 8}, what="y")
    expect_close(y, torch.full((1, 8), 0.5), "mean square 0.01 and eps 0.03: the root of 0.04", tolerance=1e-5)


def run_step(student, m, s, piece):
    m, s = student.online_step(m, s, piece)
    return torch.as_tensor(m), torch.as_tensor(s)


def all_pieces(student, m, s, pieces):
    for piece in pieces:
        m, s = student.online_step(m, s, piece)
    return torch.as_tensor(m), torch.as_tensor(s)


PAIR = "the pair (m, s)"


@check("online_step", title="one step with a new maximum")
def one_step(student, rng):
    m, s, piece = torch.tensor(1.0), torch.tensor(2.0), torch.tensor([3.0, 2.0])
    top, total = ask(student, (like(m), like(s)), run_step, m, s, piece, what=PAIR)
    expect_equal(top.item(), 3.0, "the maximum of everything so far")
    old = 2 * torch.tensor(-2.0).exp().item()
    right = old + 1 + torch.tensor(-1.0).exp().item()
    expect(abs(total.item() - (right - old + 2)) > 1e-5, "what was summed before is relative to the old maximum: multiply it by exp(old - new)")  # fmt: skip
    expect(abs(total.item() - (right - old + 2 * torch.tensor(2.0).exp().item())) > 1e-4, "the old sum must shrink: exp(old - new), not exp(new - old)")  # fmt: skip
    expect_close(total, right, "m 1, s 2, then the piece 3, 2")


@check("online_step", title="a row of large numbers, from the beginning")
def whole_row(student, rng):
    x = torch.tensor([[0.5, -1.0], [3.0, 2.0], [700.0, 699.0], [-5.0, 1.0]], dtype=torch.float64)
    m, s = torch.tensor(-torch.inf, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    form = (like(s, finite=False), like(s, finite=False))
    top, total = ask(student, form, all_pieces, m, s, list(x), what=PAIR)
    expect(bool(top == 700), "a later piece without a new maximum must leave m as it is")
    expect(bool(total.isfinite()), "the sum is not finite: every exponent must be relative to the new maximum")
    expect_close(total, torch.exp(x - 700).sum(), "pieces of two, up to 700")


def product(student, m, n, k, tile, draw):
    a, b = torch.randn(m, k, generator=draw), torch.randn(k, n, generator=draw)
    c = ask(student, like(a @ b, finite=False), launched, "matmul_tile", [m // tile, n // tile], [m, n], [a, b], [m, n, k], {"T": tile}, what="c")  # fmt: skip
    return a, b, c


@check("matmul_tile", title="a single tile of the result")
def one_tile(student, rng):
    a, b, c = product(student, 16, 16, 48, 16, torch.Generator().manual_seed(rng.randrange(10**6)))
    expect(not c.isnan().all(), "nothing was stored")
    for first in (0, 32):
        part = a[:, first : first + 16] @ b[first : first + 16]
        expect(not torch.allclose(c, part, atol=1e-4), "only one step of the loop is in the result: add up over k")
    expect_close(c, a @ b, "16 × 48 times 48 × 16, tiles of 16", tolerance=1e-4)


@check("matmul_tile", title="several tiles, no matrix square")
def several(student, rng):
    a, b, c = product(student, 32, 64, 16, 16, torch.Generator().manual_seed(rng.randrange(10**6)))
    expect(
        not c.isnan().any(), "some tiles of c were never written: rows from program_id(0), columns from program_id(1)"
    )
    expect_close(c, a @ b, "32 × 16 times 16 × 64: a has rows of k numbers, b and c of n", tolerance=1e-4)


def run_counts(student, *arguments):
    return tuple(int(number) for number in student.tile_counts(*arguments))


@check("tile_counts", title="square tiles")
def square(student, rng):
    form = (int, int, int)
    found = ask(student, form, run_counts, 2, 640, 64, 64, what="the triple")
    expect(found != (3, 0, 7), "the tile at the diagonal is not whole: its first query does not see its last key")
    expect(found != (2, 8, 0), "tiles after the program's last query are skipped")
    expect(found != (2, 0, 8), "the tile at the diagonal is visited: the last query sees all of it")
    expect_equal(found, (2, 1, 7), "program 2, 640 keys, tiles of 64 × 64: queries 128 to 191")


@check("tile_counts", title="tiles of other shapes, and queries past the last key")
def other_shapes(student, rng):
    form = (int, int, int)
    found = ask(student, form, run_counts, 1, 256, 128, 32, what="the triple")
    expect_equal(found, (4, 4, 0), "queries 128 to 255 and tiles of 32 keys")
    found = ask(student, form, run_counts, 1, 256, 32, 64, what="the triple")
    expect(found != (0, 0, 4), "queries 32 to 63 see keys 0 to 63: the first tile is visited")
    expect_equal(found, (0, 1, 3), "queries 32 to 63 and tiles of 64 keys")
    found = ask(student, form, run_counts, 5, 128, 64, 64, what="the triple")
    expect_equal(found, (2, 0, 0), "queries 320 to 383, and 128 keys only: no more tiles than there are")
