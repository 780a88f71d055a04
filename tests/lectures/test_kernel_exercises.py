"""The exercises of lecture 07 and what it looks at kernels with: wrong answers are told what is wrong, counts are right."""

import re

import pytest
import torch
from helpers import ROOT

from cs336lite import backend
from cs336lite.course.check import public_spec, run_checks
from cs336lite.course.spec import LocalStudent
from cs336lite.gpu_model import bank_conflicts, resident_programs

if backend.BACKEND == "pytorch":
    pytest.skip(backend.REASON, allow_module_level=True)

from cs336lite.course.kernel_lab import asked, compiled, fetched, operation_bytes, watch

tl = backend.tl
TEXT = (ROOT / "notebooks" / "text" / "07_kernels.py").read_text(encoding="utf-8")


def right(exercise: str) -> str:
    """The course's answer."""
    cell = re.search(rf'(?ms)^# %% exercise="{exercise}".*?\n(.*?)(?=^# %%)', TEXT)[1]
    return re.sub(r"(?m)^\s*### (BEGIN|END) SOLUTION\n", "", cell)


def told(exercise: str, source: str, tmp_path) -> list[str]:
    """The messages of the checks that an answer fails. Triton reads a kernel's source, so it stands in a file."""
    file = tmp_path / "answer.py"
    file.write_text(source, encoding="utf-8")
    names = {"torch": torch, "tl": tl}
    exec(compile(source, str(file), "exec"), names)
    results = run_checks(public_spec(ROOT, "07_kernels"), LocalStudent(names), exercise)
    return [result.message for result in results if not result.passed]


EXERCISES = re.findall(r'(?m)^# %% exercise="(\w+)"', TEXT)
OTHER_WORDS = {
    "sectors": "def sectors(stride, itemsize=4): return len(set((torch.arange(32) * stride * itemsize // 32).tolist()))",
    "online_step": "def online_step(m, s, piece):\n both = torch.cat((m[None], piece))\n new = both.max()\n return new, s * (m - new).exp() + (piece - new).exp().sum()",
    "tile_counts": "def tile_counts(p, keys, M, N):\n kinds = [0, 0, 0]\n for t in range(keys // N):\n  kinds[0 if t * N + N - 1 <= p * M else 1 if t * N <= p * M + M - 1 else 2] += 1\n return tuple(kinds)",
}


@pytest.mark.parametrize("exercise", EXERCISES)
def test_right_answers_pass(exercise, tmp_path):
    assert told(exercise, right(exercise), tmp_path) == []
    assert exercise not in OTHER_WORDS or told(exercise, OTHER_WORDS[exercise], tmp_path) == []


@pytest.mark.parametrize(
    ("exercise", "old", "new", "message"),
    [
        ("sectors", "* itemsize", "* 4", "bfloat16 has 2 bytes"),
        ("sectors", "len({i * stride * itemsize // 32 for i in range(32)})", "32", "count each once"),
        ("sectors", "* stride * itemsize", "* stride", "itemsize is missing"),
        ("softmax_rows", ' - tl.max(x, axis=0)', "", "subtract the row's maximum"),
        ("softmax_rows", '-float("inf")', "0.0", "load them with other=-inf"),
        ("softmax_rows", " / tl.sum(powers, axis=0)", "", "divide by the sum"),
        ("softmax_rows", "y_ptr + row * n", "y_ptr", "program r writes row r"),
        ("rms_rows", "/ n + eps", "/ BLOCK + eps", "you divided by BLOCK"),
        ("rms_rows", "/ n + eps", "+ eps", "takes the mean"),
        ("rms_rows", "x * r * w", "x * r", "the gain w is missing"),
        ("rms_rows", " + eps", "", "a row of zeros divides by zero"),
        ("rms_rows", "tl.sqrt(tl.sum(x * x, axis=0) / n + eps)", "(tl.sum(x * x, axis=0) / n + eps)", "divide by the root"),
        ("online_step", "s * torch.exp(m - new)", "s", "exp(old - new)"),
        ("online_step", "torch.exp(m - new)", "torch.exp(new - m)", "the old sum must shrink"),
        ("online_step", "torch.maximum(m, piece.max())", "piece.max()", "must leave m as it is"),
        ("matmul_tile", "tl.dot(a, b, total,", "tl.dot(a, b,", "add up over k"),
        ("matmul_tile", "tl.program_id(1) * T", "tl.program_id(0) * T", "never written"),
        ("tile_counts", "(first + 1) // N", "last // N + 1", "its first query does not see its last key"),
        ("tile_counts", "keys // N)\n    visited", "keys)\n    visited", "no more tiles than there are"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_told_what_is_wrong(exercise, old, new, message, tmp_path):
    source = right(exercise)
    assert old in source
    found = told(exercise, source.replace(old, new), tmp_path)
    assert any(message in said for said in found), found


def copy_strided(y_ptr, x_ptr, n, stride, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + i * stride, mask=i < n), mask=i < n)


@pytest.mark.skipif(backend.BACKEND != "interpreter", reason="only the interpreter can be watched")
def test_bytes_are_counted_under_the_mask_and_sectors_by_the_warp():
    x, y = torch.zeros(4096), torch.zeros(128)
    seen = watch(lambda: backend.jit(copy_strided)[(2,)](y, x, 100, 8, BLOCK=64))
    assert {one.program[0] for one in seen} == {0, 1} and asked(seen) == 2 * 4 * 100
    loads, stores = ([one for one in seen if one.kind == kind] for kind in ("load", "store"))
    assert fetched(loads) == 100 * 32  # a sector for each number
    assert asked(stores) <= fetched(stores) <= asked(stores) + 8 * 32
    assert watch(lambda: None) == []


def test_operations_are_counted_by_what_goes_in_and_comes_out():
    x = torch.zeros(8, 8)
    assert operation_bytes(lambda: x + x) == 3 * x.nbytes  # both operands, though they are one
    assert operation_bytes(lambda: x.exp().T.sum()) == 2 * x.nbytes + x.nbytes + 4
    assert operation_bytes(lambda: x.T) == 0


def test_a_kernel_is_compiled_for_a_gpu_that_is_not_here_and_a_wrong_one_is_an_error():
    types = {"y_ptr": "*fp32", "x_ptr": "*fp32", "n": "i32", "stride": "i32"}
    made = compiled(copy_strided, types, {"BLOCK": 1024}, warps=8)
    assert made.threads == 256 and 8 <= made.registers <= 255 and made.stack == made.shared == 0
    with pytest.raises(Exception, match="copy_strided does not compile"):
        compiled(copy_strided, types, {"BLOCK": 1000})


def test_what_an_sm_holds_is_bounded_by_what_runs_out_first():
    assert resident_programs(256, 32, 0) == 8  # threads
    assert resident_programs(256, 255, 0) == 1  # registers, in eights
    assert resident_programs(128, 32, 100 * 1024) == 2  # shared memory, and a KiB for each program
    assert [bank_conflicts(stride) for stride in (1, 2, 8, 31, 32, 64)] == [1, 2, 8, 1, 32, 32]
    with pytest.raises(ValueError, match="the stride is 0"):
        bank_conflicts(0)
