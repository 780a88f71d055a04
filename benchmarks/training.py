"""Tokens per second of `cs336lite.training` beside the shortest loop that trains the same model on the same data.

    python benchmarks/training.py           about two minutes

The peer is a loop in the style of nanoGPT: a memory-mapped array, batches by torch.stack, cosine with warmup, clipping,
fused AdamW, and nothing else. Both take turns, in this process, on one thread; the ratio of processor time is the median over the rounds. Both
must reach the same loss, so that they did the same work.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from targets import told
from turns import in_turn, over

from cs336lite.model import Transformer, TransformerConfig
from cs336lite.scratch import Scratch, sweep
from cs336lite.training import Tokens, TrainingConfig, train, write_tokens

TARGET = 0.95  # equal, within what a busy machine lets one see
SIZES = {
    "tiny": (dict(d_model=64, num_layers=2, num_heads=2, d_ff=172, context_length=64), 8, 60),
    "small": (dict(d_model=128, num_layers=4, num_heads=4, d_ff=344, context_length=128), 8, 15),
}


def plain_loop(config: TransformerConfig, path: Path, steps: int, batch_size: int, lr: float) -> float:
    """The peer: the mean loss of its last five steps."""
    torch.manual_seed(0)
    data, block = np.memmap(path, dtype=np.uint16, mode="r", offset=128), config.context_length
    model = Transformer(config)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)
    losses = []
    for step in range(steps):
        progress = (step - 10) / (steps - 10)
        for group in optimizer.param_groups:
            group["lr"] = lr * ((step + 1) / 10 if step < 10 else (1 + math.cos(math.pi * progress)) / 2)
        starts = torch.randint(len(data) - block, (batch_size,))
        x = torch.stack([torch.from_numpy(data[i : i + block].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + block].astype(np.int64)) for i in starts])
        loss = model.loss(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return statistics.mean(losses[-5:])


def engine(config: TransformerConfig, path: Path, steps: int, batch_size: int, lr: float) -> float:
    """Ours, the same work."""
    plan = TrainingConfig(steps=steps, batch_size=batch_size, lr=lr, warmup=10)
    return float(train(config, plan, Tokens(path), device="cpu").values()[-5:].mean())


def keep(ends: dict[str, float], contender: str, loop: Callable[..., float], *work: object) -> None:
    """A run of a contender, and the loss at which it ended."""
    ends[contender] = loop(*work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(
        f"Python {sys.version.split()[0]}, torch {torch.__version__}, one thread, processor time, medians of {rounds}"
    )
    missed = []
    sweep()  # what killed runs left
    with Scratch("bench") as folder:
        path = folder / "tokens.npy"
        drawn = np.random.default_rng(0).zipf(1.3, 500_000) % 512
        write_tokens(path, drawn.tolist(), 512)
        for name, (shape, batch_size, steps) in SIZES.items():
            config = TransformerConfig(vocab_size=512, attend="sdpa", **shape)
            tokens = steps * batch_size * config.context_length
            ends: dict[str, float] = {}
            loops, work = {"plain loop": plain_loop, "cs336lite": engine}, (config, path, steps, batch_size, 3e-3)
            times = in_turn({c: partial(keep, ends, c, loop, *work) for c, loop in loops.items()}, rounds)
            speed = {contender: tokens / statistics.median(taken) for contender, taken in times.items()}
            ratio = over(times, "plain loop", "cs336lite")
            speeds = ", ".join(f"{c} {s:,.0f} tokens/s (loss {ends[c]:.2f})" for c, s in speed.items())
            print(f"{name}: {speeds}; ratio {ratio:.2f} (target at least {TARGET})")
            assert abs(ends["cs336lite"] - ends["plain loop"]) < 0.3, "they did not do the same work"
            if not told(f"{name}: tokens a second over a plain loop", ratio, at_least=TARGET):
                missed.append(name)
    sys.exit(f"below the target: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
