"""Byte-pair encoding beside Hugging Face tokenizers, rustbpe and tiktoken: time and memory as ratios.

    python benchmarks/bpe.py            130 kB and 5 MB, about a minute
    python benchmarks/bpe.py --full     and 100 MB, about six minutes

Contenders take turns, each run in a fresh process. Times are medians and count from the file to the merges (or from
the string to the ids), without imports. Memory is the peak of all of a contender's processes together, sampled in a
run of its own: proportional set size where the system tells it, else resident. A run fails when merges or ids differ.
"""

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from bpe_contenders import END
from targets import told

CONTENDERS = Path(__file__).with_name("bpe_contenders.py")
SIZES = {"130 kB": (130_000, 500), "5 MB": (5_000_000, 10_000), "100 MB": (100_000_000, 32_000)}
TARGETS = {"130 kB": 0.6, "5 MB": 0.75, "100 MB": 0.8}
MEMORY, ENCODING = 0.6, 0.5
TRAINERS = {"huggingface": ("tokenizers", "Hugging Face tokenizers"), "rustbpe": ("rustbpe", "rustbpe")}


# The corpus: technical text that every environment of this project holds.


def documents() -> Iterator[str]:
    """Distinct source and prose files of the standard library and of the installed packages, the same order always."""
    found = {}
    for base in ("stdlib", "purelib"):
        root = Path(sysconfig.get_path(base))
        for path in root.rglob("*"):
            if path.suffix in {".py", ".rst", ".txt", ".md"} and path.is_file():
                found.setdefault(hashlib.sha256(path.relative_to(root).as_posix().encode()).digest(), path)
    seen = set()
    for _, path in sorted(found.items()):
        with contextlib.suppress(OSError):
            text = path.read_bytes()[:100_000].decode(errors="replace").replace(END, "")
            if text.strip() and text not in seen:
                seen.add(text)
                yield text


def write_corpora(folder: Path, sizes: list[int], others: dict[str, int]) -> dict[int | str, Path]:
    """A file of about each size, documents ended by END; ``others`` are files of documents that no corpus holds."""
    source = documents()
    paths = {name: folder / name.replace(" ", "_") for name in others}
    for name, size in others.items():
        fill(source, paths[name], size)
    largest = folder / "largest"
    fill(source, largest, max(sizes))
    for size in sizes:
        paths[size] = folder / str(size)
        with open(largest, "rb") as file:
            data = file.read(size)
        paths[size].write_bytes(data[: data.rfind(END.encode()) + len(END)] if END.encode() in data else data)
    return paths


def fill(source: Iterator[str], path: Path, size: int) -> None:
    with open(path, "wb") as file:
        while file.tell() < size:
            text = next(source, None)
            if text is None:
                sys.exit(
                    f"this environment holds too little text: {path.name} ends at {file.tell():,} of {size:,} bytes"
                )
            file.write((text + END).encode())


# What watches a contender.


def proportional_memory(pid: int) -> int:
    """Bytes of a process and of its descendants, shared pages counted in proportion where the system tells."""
    import psutil

    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            try:
                lines = Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines()
                total += 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except OSError:
                with contextlib.suppress(psutil.Error):
                    total += one.memory_info().rss
    return total


def run(job: str, *arguments, watch: bool = False) -> dict:
    """What ``job`` says in a fresh process, with its peak memory if it is watched."""
    command = [sys.executable, CONTENDERS, json.dumps([job, *arguments], default=str)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    while watch and process.poll() is None:
        peak = max(peak, proportional_memory(process.pid))
        time.sleep(0.01)
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{job} of {arguments[0]} failed: its error is above")
    return {**json.loads(output), "peak_bytes": peak}


def compare(job: str, contenders: list[str], arguments: list, rounds: int, console) -> dict[str, dict]:
    """Median seconds, peak memory and answer of each contender, all in turn."""
    results = {}
    for turn in range(rounds + 1):  # the first turn is watched and warms the disk cache; it is not timed
        for contender in contenders:
            if console.is_terminal:
                console.print(f"[dim]{job} {turn}/{rounds} {contender:<30}[/]", end="\r", highlight=False)
            answer = run(job, contender, *arguments, watch=turn == 0)
            if turn == 0:
                results[contender] = {**answer, "times": []}
            else:
                results[contender]["times"].append(answer["seconds"])
    for result in results.values():
        result["seconds"] = statistics.median(result["times"])
    return results


def installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine() -> dict:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also 100 MB and a vocabulary of 32,000")
    parser.add_argument("--rounds", type=int, help="timed runs of each contender (default 5; 3 for 100 MB)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    options = parser.parse_args()
    report(options)


def report(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 130)
    versions = {name: installed(name) for name in ("tokenizers", "rustbpe", "tiktoken", "regex")}
    for name, version in versions.items():
        if version is None:
            console.print(
                f"[yellow]{name} is not installed: the run goes on without it (pip install 'cs336lite\\[bench]')[/]"
            )
    about = {"machine": machine(), "versions": versions, "corpus": "stdlib and site-packages: .py .rst .txt .md"}
    names = [name for name in SIZES if options.full or name != "100 MB"]
    failures = []
    from cs336lite.scratch import Scratch, sweep

    sweep()  # what killed runs left
    with Scratch("bench") as folder:
        sizes = [SIZES[name][0] for name in names]
        paths = write_corpora(folder, sizes, {"unseen text": 5_000_000, "other text": 5_000_000})
        training = {}
        for name in names:
            size, vocab_size = SIZES[name]
            peers = [rule for rule, (package, _) in TRAINERS.items() if versions[package]]
            contenders = [c for rule in peers for c in (TRAINERS[rule][0], f"cs336lite {rule}")] or ["cs336lite cs336"]
            rounds = options.rounds or (3 if size >= 100_000_000 else 5)
            training[name] = compare("train", contenders, [paths[size], vocab_size], rounds, console)
            for rule in peers:
                if training[name][TRAINERS[rule][0]]["answer"] != training[name][f"cs336lite {rule}"]["answer"]:
                    failures.append(f"{name}: the merges differ from those of {TRAINERS[rule][1]}")

        from cs336lite.bpe import Tokenizer, train_bpe

        vocab, merges = train_bpe(paths[sizes[-1]], 32_000, [END])
        files = [Path(folder) / "vocab.json", Path(folder) / "merges.txt"]
        Tokenizer(vocab, merges).save(*files)
        contenders = ["tiktoken"] * bool(versions["tiktoken"])
        contenders += ["tokenizers", "tokenizers batch"] * bool(versions["tokenizers"])
        contenders += ["cs336lite", "cs336lite warm"]
        where = [*files, paths["unseen text"], paths["other text"]]
        encoding = compare("encode", contenders, where, options.rounds or 5, console)
        failures += [
            f"the ids of {c} differ from ours"
            for c in contenders
            if encoding[c]["answer"] != encoding["cs336lite"]["answer"]
        ]
        whole = run("encode", "cs336lite", *files, paths[sizes[-1]], paths["other text"])
        stream = run("encode", "cs336lite stream", *files, paths[sizes[-1]], paths["other text"])
        if whole["answer"] != stream["answer"]:
            failures.append("the stream's ids differ from those of the whole text")

    where = about["machine"]
    console.print(
        f"\n{where['cpu']}, {where['cores']} cores, {where['system']}, Python {where['python']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        + f"\ncorpus: {about['corpus']} of this environment, distinct files, in an order that is the same always",
        highlight=False,
    )
    table = Table(title="Training: ours / theirs, identical merges", title_justify="left")
    for column in ("corpus, vocabulary", "peer", "peer s", "ours s", "time", "target", "peer MB", "ours MB", "memory"):
        table.add_column(column, justify="left" if column in ("corpus, vocabulary", "peer") else "right")
    for name, results in training.items():
        for rule, (package, title) in TRAINERS.items():
            ours = results.get(f"cs336lite {rule}")
            if ours is None:
                continue
            peer = results[package]
            if rule == "huggingface":
                told(f"training on {name}, time", ours["seconds"] / peer["seconds"], at_most=TARGETS[name])
                told(f"training on {name}, memory", ours["peak_bytes"] / peer["peak_bytes"], at_most=MEMORY)
            table.add_row(
                f"{name}, {SIZES[name][1]:,}",
                title,
                f"{peer['seconds']:.3f}",
                f"{ours['seconds']:.3f}",
                f"{ours['seconds'] / peer['seconds']:.2f}",
                f"{TARGETS[name]:.2f}" if rule == "huggingface" else "",
                f"{peer['peak_bytes'] / 1e6:.0f}",
                f"{ours['peak_bytes'] / 1e6:.0f}",
                f"{ours['peak_bytes'] / peer['peak_bytes']:.2f}",
            )
    console.print(table)
    if "tiktoken" in encoding:
        speed = encoding["tiktoken"]["seconds"] / encoding["cs336lite"]["seconds"]
        told("encoding new text, speed of tiktoken's", speed, at_least=ENCODING)
    told("encoding a stream, MB beyond the tables", stream["extra_bytes"] / 1e6, at_most=20)
    table = Table(title="Encoding 5 MB of text that training did not see: identical ids", title_justify="left")
    for column in ("contender", "MB/s", "of tiktoken", "of Hugging Face"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    for contender, result in encoding.items():
        ratios = [
            encoding[p]["seconds"] / result["seconds"] if p in encoding else None for p in ("tiktoken", "tokenizers")
        ]
        speed = result["bytes"] / 1e6 / result["seconds"]
        table.add_row(contender, f"{speed:.1f}", *(f"{r:.2f}" if r else "" for r in ratios))
    console.print(table)
    console.print(
        f"stream of {stream['bytes'] / 1e6:.0f} MB, line by line: {stream['bytes'] / 1e6 / stream['seconds']:.1f} MB/s, "
        f"{stream['extra_bytes'] / 1e6:.1f} MB of memory beyond the tables (target 20)",
        highlight=False,
    )
    if options.json:
        beside = options.json.with_name(options.json.name + ".part")
        beside.write_text(json.dumps({**about, "training": training, "encoding": encoding, "stream": stream}, indent=1))
        beside.replace(options.json)
    for failure in failures:
        console.print(f"[red]{failure}[/]")
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
