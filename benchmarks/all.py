"""Every benchmark in turn, and at the end all ratios that have a target, in one table.

    python benchmarks/all.py            about half an hour
    python benchmarks/all.py --quick    fewer rounds and a smaller class: some minutes, and ratios that differ from run to run
    python benchmarks/all.py bpe moe    these alone

One that fails does not stop the others. The exit status is 1 when one failed, told no ratio, or missed a target.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from targets import FILE, Ratio, read

from cs336lite.scratch import Scratch

HERE = Path(__file__).resolve().parent
QUICK = {
    "bpe": ("--rounds", "1"),
    "grading": ("--rounds", "1", "--submissions", "4"),
    "architecture": ("--rounds", "1"),
    "lion": ("--rounds", "5"),
    "training": ("--rounds", "1"),
    "moe": ("--rounds", "2"),
    "kernels": ("--rounds", "1"),
    "inference": ("--rounds", "1", "--steps", "50"),
}
"""The benchmarks in the order in which they run, and what makes each quick."""


def run_all(names: Sequence[str], quick: bool, folder: Path) -> dict[str, tuple[int, list[Ratio]]]:
    """For each benchmark its exit status and the ratios that it told."""
    found = {}
    for name in names:
        print(f"\n== {name}", flush=True)
        kept = folder / f"{name}.jsonl"
        command = [sys.executable, str(HERE / f"{name}.py"), *(QUICK[name] if quick else ())]
        status = subprocess.run(command, env={**os.environ, FILE: str(kept)}, check=False).returncode
        found[name] = status, read(kept)
    return found


def table(found: dict[str, tuple[int, list[Ratio]]]) -> Table:
    """All ratios with their targets, a row each; a benchmark that told none has a row that says so."""
    rows = Table(title="Ratios that have a target", title_justify="left")
    for column in ("benchmark", "what is compared", "ratio", "target", ""):
        rows.add_column(column, justify="right" if column in ("ratio", "target") else "left")
    for name, (status, ratios) in found.items():
        for ratio in ratios:
            target = f"{'≥' if ratio.least else '≤'} {ratio.target:g}"
            rows.add_row(name, ratio.name, f"{ratio.value:.2f}", target, "reached" if ratio.reached else "missed")
        if not ratios:
            rows.add_row(name, "", "", "", f"no ratio, exit status {status}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(QUICK)}; by default all")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    if unknown := set(options.names) - QUICK.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(QUICK)}")
    with Scratch("bench") as folder:
        found = run_all(options.names or list(QUICK), options.quick, Path(folder))
    Console(width=None if sys.stdout.isatty() else 130).print(table(found))
    if options.quick:
        print("--quick: too few rounds for a verdict; look again without it at what is missed")
    sys.exit(any(status or not ratios or not all(r.reached for r in ratios) for status, ratios in found.values()))


if __name__ == "__main__":
    main()
