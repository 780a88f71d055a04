"""The kernels of lecture 07 beside their peers, in turn in one run; results are compared before anything is timed.

    python benchmarks/kernels.py             on a GPU: everything, into notebooks/results/kernels_<device>.json
                                             without one: tiled attention in PyTorch beside SDPA on the CPU, as ratios
    python benchmarks/kernels.py --check     only that results are right: on a GPU, else small sizes on the interpreter
    python benchmarks/kernels.py --compile   compile every kernel and choice of tiles for A100, RTX 30, RTX 40 and H100

Times are medians of at least 5 rounds, in each of which the contenders take turns. On a GPU the two ceilings, a device
copy and a large bfloat16 product, are measured first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler that counts memory is to be silent

import torch
import torch.nn.functional as F
from kernel_jobs import HALF, ROOT, Job, compiled, draw, jobs, peers
from targets import told
from torch import Tensor
from turns import in_turn, over

from cs336lite import flash, kernels, tiles

ROUNDS = 5


# ---------------------------------------------------------------------------------------------------------- right, then fast


def run(function: Callable, inputs: list[Tensor]) -> list[Tensor]:
    """The result and the gradients."""
    out = function(*inputs)
    grad = (
        torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out) if out.ndim else torch.ones_like(out)
    )
    return [out.detach(), *torch.autograd.grad(out, inputs, grad)]


def error(job: Job, function: Callable) -> float:
    """The largest difference to the twin on float32 inputs, in units of bfloat16's rounding at the largest entry."""
    wide = [t.detach().float().requires_grad_() if job.kernel != "FlashAttention" else t for t in job.inputs]
    found = run(function, job.inputs)
    worst = 0.0
    for a, b in zip(found, run(job.twin, wide)):
        worst = max(worst, ((a.float() - b.float()).abs().max() / b.float().abs().max()).item())
    return worst / torch.finfo(HALF).eps


def milliseconds(functions: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """The median time of each on the GPU, in turn."""
    from triton.testing import do_bench

    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(do_bench(function, warmup=10, rep=40, return_mode="median"))
    return {name: statistics.median(values) for name, values in times.items()}


def contenders_that_are_right(job: Job) -> tuple[dict[str, Callable], dict[str, float]]:
    """Those whose results agree with the twin, with their errors; ours must."""
    right, errors = {}, {}
    for name, function in job.contenders.items():
        try:
            errors[name] = error(job, function)
        except Exception as problem:  # a backend that does not take this shape
            print(f"    {name} left out: {str(problem).splitlines()[0][:100]}")
            if name == "ours":
                raise
            continue
        if errors[name] < 8:
            right[name] = function
        elif name == "ours":
            raise SystemExit(f"{job.kernel} {job.size}: ours is off by {errors[name]:.1f} roundings")
    return right, errors


def measure(job: Job, ceilings: dict[str, float]) -> list[dict]:
    """Rows for the forward pass and for both passes."""
    functions, errors = contenders_that_are_right(job)
    out = job.twin(*job.inputs)
    grad = torch.ones_like(out)
    there = {name: (lambda f=f: f(*job.inputs)) for name, f in functions.items()}
    both = {n: (lambda f=f: torch.autograd.grad(f(*job.inputs), job.inputs, grad)) for n, f in functions.items()}
    del out
    rows = []
    for direction, timed, moved, flops in (
        ("forward", there, job.bytes, job.flops),
        ("both", both, job.bytes_both, job.flops_both),
    ):
        took = milliseconds(timed)
        row = {"kernel": f"{job.kernel}, {direction}", "size": job.size, "milliseconds": took, "errors": errors}
        if moved:
            row["of_copy_bandwidth"] = moved / took["ours"] / 1e6 / ceilings["copy_GB_per_s"]
        if flops:
            row["tflops"] = flops / took["ours"] / 1e9
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        timed["ours"]()
        row["peak_MiB"] = (torch.cuda.max_memory_allocated() - before) / 2**20
        rows.append(row)
        share = f"{100 * row['of_copy_bandwidth']:.0f} % of a copy" if moved else f"{row['tflops']:.0f} TFLOP/s"
        times = "  ".join(f"{name} {ms:.3f}" for name, ms in took.items())
        print(f"  {row['kernel']:<28}{job.size:<26}{times} ms, {share}")
    return rows


def lion_rows(ceilings: dict[str, float]) -> list[dict]:
    """Lion's step on 67M parameters in float32, beside PyTorch operations and their compiled form."""
    p, g, m = (draw(2**26, dtype=torch.float32, grad=False) for _ in range(3))
    options = {"lr": 1e-4, "weight_decay": 0.1}
    ours, twin = [p.clone(), g, m.clone()], [p.clone(), g, m.clone()]
    kernels.lion_step(*ours, **options)
    kernels.plain_lion_step(*twin, **options)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, twin))
    functions = peers(ours=kernels.lion_step, eager=kernels.plain_lion_step, compile=compiled(kernels.plain_lion_step))
    took = milliseconds({name: (lambda f=f: f(p, g, m, **options)) for name, f in functions.items()})
    row = {"kernel": "Lion", "size": "67,108,864 float32", "milliseconds": took}
    row["of_copy_bandwidth"] = 5 * p.nbytes / took["ours"] / 1e6 / ceilings["copy_GB_per_s"]
    row["tflops"] = 10 * p.numel() / took["ours"] / 1e9
    return [row]


def measured_ceilings() -> dict[str, float]:
    big, square = torch.empty(2**29, dtype=torch.int8, device="cuda"), draw(8_192, 8_192, grad=False)
    target = torch.empty_like(big)
    took = milliseconds({"copy": lambda: target.copy_(big), "matmul": lambda: square @ square})
    copied, flops = 2 * big.nbytes, 2 * 8_192**3
    return {"copy_GB_per_s": copied / took["copy"] / 1e6, "matmul_TFLOPs": flops / took["matmul"] / 1e9}


def on_gpu(out: Path | None) -> Path:
    import triton

    ceilings = measured_ceilings()
    print(f"{torch.cuda.get_device_name()}: {ceilings}")
    rows, roofline = lion_rows(ceilings), {}
    roofline["Lion"] = {"tflops": rows[0]["tflops"]}
    for job in jobs(large=True):
        found = measure(job, ceilings)
        rows += found
        if job.point:
            roofline[job.point] = {"tflops": found[0]["tflops"]}
    tuned = {}
    for tuner in (tiles.tuned_matmul, flash.tuned_forward, flash.tuned_dq, flash.tuned_dkv):
        tuned[tuner.base_fn.__name__] = {str(key): str(config) for key, config in tuner.cache.items()}
    device = torch.cuda.get_device_name()
    result = {
        "command": "python benchmarks/kernels.py", "device": device, "date": date.today().isoformat(),
        "torch": torch.__version__, "triton": triton.__version__, "python": platform.python_version(),
        "rounds": ROUNDS, "ceilings": ceilings, "roofline": roofline, "rows": rows, "tuned": tuned,
    }  # fmt: skip
    name = re.sub(r"\W+", "_", device.lower().removeprefix("nvidia ")).strip("_")
    path = out or ROOT / "notebooks" / "results" / f"kernels_{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


# --------------------------------------------------------------------------------------------------------------- without one


def check_only() -> None:
    """Every job at its size for this machine, results against the twins."""
    for job in jobs(large=kernels.BACKEND == "gpu"):
        right, errors = contenders_that_are_right(job)
        print(f"  {job.kernel:<24}{job.size:<24}off by {errors['ours']:.2f} roundings of bfloat16; right: {[*right]}")


def peak_memory(function: Callable[[], object]) -> int:
    """The most bytes that were allocated at once, temporary buffers inside operations included."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kept = function()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    del kept
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def on_cpu(rounds: int = 7) -> None:
    """Tiled attention in PyTorch beside SDPA and beside plain products: B 2, H 8, d 64, causal, float32."""

    def by_products(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        hidden = torch.ones(Q.shape[2], K.shape[2], dtype=torch.bool).triu(1)
        return ((Q @ K.mT) * Q.shape[3] ** -0.5).masked_fill(hidden, -torch.inf).softmax(-1) @ V

    ways = {
        "SDPA": lambda Q, K, V: F.scaled_dot_product_attention(Q, K, V, is_causal=True),
        "tiled": flash.tiled_attention,
        "products": by_products,
    }
    print(f"{torch.get_num_threads()} threads; ratios to SDPA of processor time and memory; targets 1.4, 1.1, 1.5")
    for t in (1_024, 2_048):
        qkv = [torch.randn(2, 8, t, 64).requires_grad_() for _ in range(3)]
        for a, b in zip(run(flash.tiled_attention, qkv), run(ways["SDPA"], qkv)):
            assert torch.allclose(a, b, atol=1e-3)
        memory = {name: peak_memory(lambda f=f, qkv=qkv: run(f, qkv)) for name, f in ways.items()}
        with torch.no_grad():
            forward = in_turn({name: partial(attend, *qkv) for name, attend in ways.items()}, rounds)
        passes = in_turn({name: partial(run, attend, qkv) for name, attend in ways.items()}, rounds)
        for name in list(ways)[1:]:
            there, both = over(forward, name, "SDPA"), over(passes, name, "SDPA")
            held = memory[name] / memory["SDPA"]
            if name == "tiled":
                for part, ratio, target in zip(
                    ("forward", "both passes", "memory"), (there, both, held), (1.4, 1.1, 1.5)
                ):
                    told(f"tiled attention over SDPA, length {t:,}, {part}", ratio, at_most=target)
            print(f"  T {t:,} {name:<9} forward {there:.2f}  both {both:.2f}  memory {held:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="only compare results")
    parser.add_argument("--compile", action="store_true", help="compile every choice of tiles, no GPU needed")
    parser.add_argument("--rounds", type=int, default=7, help="of tiled attention on the CPU")
    parser.add_argument("--out", type=Path, help="where to write what a GPU gave")
    options = parser.parse_args()
    print(f"kernels run as {kernels.BACKEND}: {kernels.REASON}")
    if options.compile:
        from cs336lite.compiled import SHARED, compiled_kernels

        for capability in SHARED:
            for one in compiled_kernels(capability, every=True):
                fits = "" if one.shared <= SHARED[capability] else "  does not fit, and is left out"
                print(f"  sm_{capability} {one.kernel:<30}{one.registers:>4} registers {one.stack:>5} stack "
                      f"{one.shared:>7} shared  {one.tile}{fits}")  # fmt: skip
    elif options.check:
        check_only()
    elif kernels.BACKEND == "gpu":
        print(f"written: {on_gpu(options.out)}")
    else:
        print("no GPU here: nothing is measured on one, and nothing is written; run this again where there is one")
        torch.set_num_threads(1)
        on_cpu(options.rounds)


if __name__ == "__main__":
    main()
