"""Lion beside lion-pytorch and torch's AdamW: time as ratios, and bytes moved against what memory delivers.

    python benchmarks/lion.py                  56 million parameters in 98 tensors, about a minute; needs 3 GB
    python benchmarks/lion.py --device cuda    the same on a GPU, where the path of lists is taken

Contenders take turns in one process, each with parameters of its own, and times are medians of a step: of processor time
on one thread on a CPU, where each round begins with another contender, else of the clock. The bytes are those
that a step cannot do without: each of parameter, gradient and state read once, and all but the gradient written once. They
are held against a sum of two large tensors measured in the same turns. A run fails when Lion's steps are not the peer's.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from targets import told
from torch import nn
from turns import in_turn

TARGETS = {"cs336lite Lion": 0.6}  # of lion-pytorch's time, on a CPU
OPTIONS = {"lr": 1e-4, "weight_decay": 0.1}


def shapes() -> list[tuple[int, ...]]:
    """98 tensors with 56 million numbers: a decoder of 8 blocks, d_model 640, d_ff 2,304, in the manner of Llama's."""
    block = [(640, 640)] * 4 + [(2304, 640)] * 2 + [(640, 2304)] + [(640,)] * 5
    return [(12_160, 640), *block * 8, (640,)]


def parameters(device: str, grads: list[torch.Tensor]) -> list[nn.Parameter]:
    """The same parameters in every call, with these gradients, which no contender changes."""
    random = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.randn(shape, generator=random).to(device)) for shape in shapes()]
    for p, grad in zip(params, grads, strict=True):
        p.grad = grad
    return params


def in_pieces_or_not(update: Callable) -> Callable:
    """A step of Lion by one of our functions alone, whatever the device."""

    def make(params: list[nn.Parameter]) -> Callable:
        momenta = [torch.zeros_like(p) for p in params]
        grads = [p.grad for p in params]
        options = (OPTIONS["lr"], (0.9, 0.99), OPTIONS["weight_decay"])
        return torch.no_grad()(lambda: update(params, grads, momenta, *options))

    return make


def one_by_one(params: list, grads: list, momenta: list, *options) -> None:
    from cs336lite.lion import lion_update_

    for tensors in zip(params, grads, momenta):
        lion_update_(*tensors, *options)


def contenders() -> dict[str, Callable]:
    """What makes a step from parameters, by name."""
    from cs336lite.lion import Lion, lion_update_foreach_

    def stepper(kind: type, **options) -> Callable:
        return lambda params: kind(params, **OPTIONS, **options).step

    found = {"cs336lite Lion": stepper(Lion)}
    with contextlib.suppress(ImportError):
        from lion_pytorch import Lion as Peer

        found["lion-pytorch"] = stepper(Peer)
    return {
        **found,
        "cs336lite, whole tensors": in_pieces_or_not(one_by_one),
        "cs336lite, lists": in_pieces_or_not(lion_update_foreach_),
        "AdamW fused": stepper(torch.optim.AdamW, fused=True),
        "AdamW foreach": stepper(torch.optim.AdamW, foreach=True),
    }


def on_the_clock(steps: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step on a GPU, all in turn."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):  # the first makes the states and is not timed
        for name, step in steps.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            step()
            torch.cuda.synchronize()
            if turn:
                times[name].append(time.perf_counter() - start)
    return times


def measure(device: str, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[nn.Parameter]], int]:
    """Times of each contender, all in turn, what became of their parameters, and how many numbers these hold."""
    random = torch.Generator().manual_seed(1)
    grads = [torch.randn(shape, generator=random).to(device) for shape in shapes()]
    kept = {name: parameters(device, grads) for name in ("cs336lite Lion", "lion-pytorch", "others")}
    steps = {name: make(kept.get(name, kept["others"])) for name, make in contenders().items()}
    a, b, out = (torch.ones(2**24, device=device) for _ in range(3))
    steps["three-stream sum"] = lambda: torch.add(a, b, out=out)
    times = (on_the_clock if device.startswith("cuda") else in_turn)(steps, rounds)
    return times, kept, sum(p.numel() for p in kept["cs336lite Lion"])


def differing(ours: list[nn.Parameter], theirs: list[nn.Parameter]) -> int:
    """How many parameters differ by more than rounding: each step that a sign turns round leads 2 lr away."""
    return sum(int(((a - b).abs() > 0.5 * OPTIONS["lr"]).sum()) for a, b in zip(ours, theirs))


def machine(device: str) -> dict:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    about = {"cpu": model, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "system": platform.system()}
    if device.startswith("cuda"):
        about["gpu"] = torch.cuda.get_device_name(device)
    return {**about, "python": platform.python_version(), "torch": torch.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--rounds", type=int, default=9, help="timed steps of each contender (default 9)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    options = parser.parse_args()
    if options.rounds < 5:
        parser.error("a median needs at least 5 rounds")
    torch.set_num_threads(1)
    report(options)


def report(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 130)
    times, kept, count = measure(options.device, options.rounds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    bandwidth = 3 * 4 * 2**24 / medians.pop("three-stream sum")
    where = machine(options.device)
    peer = medians.get("lion-pytorch")
    if peer:
        where["lion-pytorch"] = importlib.metadata.version("lion-pytorch")
    else:
        console.print("[yellow]lion-pytorch is not installed: the run goes on without it (pip install lion-pytorch)[/]")
    console.print("\n" + ", ".join(f"{name} {value}" for name, value in where.items()), highlight=False)
    console.print(f"a sum of two tensors moves {bandwidth / 1e9:.1f} GB/s", highlight=False)
    table = Table(title=f"A step of {count / 1e6:.1f}M parameters in {len(shapes())} tensors", title_justify="left")
    for column in (
        "optimizer",
        "ms",
        "of lion-pytorch",
        "target",
        "of AdamW fused",
        "MB needed",
        "GB/s",
        "of the sum's",
    ):
        table.add_column(column, justify="left" if column == "optimizer" else "right")
    for name, median in medians.items():
        needed = 4 * count * (7 if name.startswith("AdamW") else 5)  # read p, g, state; write p, state
        speed = needed / median
        target = TARGETS.get(name) if options.device == "cpu" else None
        if target and peer:
            told(f"a step of {name} over lion-pytorch's", median / peer, at_most=target)
        row = [f"{1e3 * median:.1f}", f"{median / peer:.2f}" if peer else "", f"{target:.2f}" if target else ""]
        row += [f"{median / medians['AdamW fused']:.2f}", f"{needed / 1e6:.0f}", f"{speed / 1e9:.1f}"]
        table.add_row(name, *row, f"{speed / bandwidth:.2f}")
    console.print(table)
    if options.json:
        beside = options.json.with_name(options.json.name + ".part")
        beside.write_text(
            json.dumps({"machine": where, "bandwidth": bandwidth, "count": count, "times": times}, indent=1)
        )
        beside.replace(options.json)
    if peer:
        others = differing(kept["cs336lite Lion"], kept["lion-pytorch"])
        console.print(
            f"{others} of {count:,} parameters differ from lion-pytorch's by more than rounding", highlight=False
        )
        if others > count * 1e-5:  # a sum within rounding of 0 may have either sign
            console.print("[red]the steps are not those of lion-pytorch[/]")
            sys.exit(1)


if __name__ == "__main__":
    main()
