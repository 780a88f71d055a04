"""Lecture 09's engine beside its peers: tokens a second, requests a second, passes, bytes and loss, as ratios.

    python benchmarks/inference.py          about three minutes

1. `generate` with its cache against transformers' generate of the same Llama: the same weights, prompts and greedy tokens.
   Like stands beside like, fused attention and written-out attention, which is our default and theirs called "eager".
2. Continuous against static batching: requests a second at the same mean latency, simulated with the costs of steps measured here.
3. Speculative decoding against plain decoding of the same model, with a draft that has counted the same text.
4. int8 against float32: bytes, seconds of a product with one token, loss.

Contenders take turns in this process, on one thread; ratios are those of medians. 1 and 2 have targets.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import transformers
from targets import told

from cs336lite.course.data import stories
from cs336lite.course.hugging_face import config_from_hugging_face, from_hugging_face
from cs336lite.decoding import dequantize_int8, quantize_int8
from cs336lite.inference import (
    CountedDraft,
    ModelCache,
    StepCosts,
    draw_requests,
    generate,
    requantized,
    simulate,
    speculative_generate,
    symmetric,
)
from cs336lite.model import Transformer, TransformerConfig

GENERATE, CONTINUOUS = 1.0, 1.5  # targets
SLOTS = 8


def in_turn(rounds: int, **contenders: Callable[[], object]) -> dict[str, float]:
    """Median seconds of processor time of each; the first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def llama(attend: str) -> tuple[transformers.PreTrainedModel, Transformer]:
    """A tiny Llama of transformers, and ours with its weights and the same kind of attention."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=512, hidden_size=256, intermediate_size=688, num_hidden_layers=6, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False,
        attn_implementation={"plain": "eager"}.get(attend, attend),
    )  # fmt: skip
    theirs = transformers.LlamaForCausalLM(config).eval()
    ours = Transformer(config_from_hugging_face(theirs.config.to_dict()).replace(attend=attend))
    ours.load_state_dict(from_hugging_face(theirs.state_dict(), ours.config, "llama"))
    return theirs, ours.eval()


def beside_transformers(rounds: int) -> list[str]:
    models = {attend: llama(attend) for attend in ("sdpa", "plain")}
    missed = []
    for batch in (1, 8):
        tokens = torch.randint(512, (batch, 64), generator=torch.Generator().manual_seed(1))
        works = {}
        for attend, (theirs, ours) in models.items():
            asked = {
                "attention_mask": torch.ones_like(tokens),
                "max_new_tokens": 96,
                "min_new_tokens": 96,
                "do_sample": False,
            }
            works[f"transformers {attend}"] = torch.no_grad()(partial(theirs.generate, tokens, **asked))
            works[f"cs336lite {attend}"] = partial(generate, ours, tokens, 96, temperature=0)
        found = {name: work() for name, work in works.items()}
        seconds = in_turn(rounds, **works)
        for attend in models:
            both = f"transformers {attend}", f"cs336lite {attend}"
            same = (found[both[0]] == found[both[1]]).float().mean().item()
            ratio = seconds[both[0]] / seconds[both[1]]
            speeds = ", ".join(f"{name} {96 * batch / seconds[name]:,.0f} tokens/s" for name in both)
            print(f"generate, batch {batch}: {speeds}; ratio {ratio:.2f} (target at least {GENERATE}); {same:.1%} of the tokens are the same")  # fmt: skip
            told(f"generate over transformers', {attend}, batch {batch}, tokens a second", ratio, at_least=GENERATE)
            missed += [f"generate, {attend}, batch {batch}"] if ratio < GENERATE or same < 0.9 else []
        ratio = seconds["transformers sdpa"] / seconds["cs336lite plain"]
        print(
            f"generate, batch {batch}: our default, written-out attention, beside transformers' default, fused: {ratio:.2f}"
        )
    return missed


def measured_costs(model: Transformer, rounds: int) -> StepCosts:
    """Seconds of decode steps and prefills of a model of 22 million parameters."""

    @torch.no_grad()
    def step(cache: ModelCache, tokens: torch.Tensor) -> None:
        model(tokens, cache=cache)
        cache.truncate(128)

    works = {}
    for rows in (1, 8):
        cache, tokens = ModelCache(model.config.num_layers, 129), torch.zeros(rows, 128, dtype=torch.int64)
        with torch.no_grad():
            model(tokens, cache=cache)
        works[f"{rows} rows"] = lambda cache=cache, new=tokens[:, :1]: step(cache, new)
    for n in (16, 128):
        works[f"{n} tokens"] = torch.no_grad()(lambda n=n: model(torch.zeros(1, n, dtype=torch.int64), cache=model.new_cache(n)))  # fmt: skip
    seconds = in_turn(rounds, **works)
    row = max(seconds["8 rows"] - seconds["1 rows"], 0) / 7
    token = (seconds["128 tokens"] - seconds["16 tokens"]) / 112
    return StepCosts(seconds["1 rows"] - row, row, max(seconds["16 tokens"] - 16 * token, 0), token)


def batching(rounds: int) -> list[str]:
    config = TransformerConfig(
        vocab_size=256, context_length=256, d_model=512, num_layers=8, num_heads=8, num_kv_heads=2, d_ff=1376, init_std=512**-0.5
    )  # fmt: skip
    costs = measured_costs(Transformer(config, torch.Generator().manual_seed(0)).eval(), rounds)
    busy = 40 * (costs.step + SLOTS * costs.step_row) / SLOTS + costs.prefill + 72 * costs.prefill_token
    loads = np.linspace(0.05, 1.2, 24) / busy

    def latencies(continuous: bool) -> np.ndarray:
        found = []
        for a_second in loads:
            ends = [
                simulate(draw_requests(400, a_second, seed), costs, SLOTS, continuous=continuous) for seed in range(3)
            ]
            found.append(np.mean([end for served in ends for _, end in served]))
        return np.maximum.accumulate(found)

    static, continuous = latencies(False), latencies(True)
    limit = 2 * continuous[0]
    most = [float(np.interp(limit, found, loads)) for found in (static, continuous)]
    ratio = most[1] / most[0]
    print(
        f"batching, {SLOTS} slots, mean latency at most {limit:.2f} s: static {most[0]:.2f} and continuous {most[1]:.2f} "
        f"requests/s; ratio {ratio:.2f} (target at least {CONTINUOUS})"
    )
    reached = told("requests a second, continuous over static batching", ratio, at_least=CONTINUOUS)
    return [] if reached else ["continuous batching"]


def trained(steps: int) -> tuple[Transformer, torch.Tensor, torch.Tensor]:
    """Lecture 09's small model, its text, and held-out pieces (40, 257)."""
    text = stories(4_400, seed=1)
    held, learned = (
        torch.tensor(list("\n\n".join(some).encode()))
        for some in (text[::11], [story for i, story in enumerate(text) if i % 11])
    )
    config = TransformerConfig(
        vocab_size=256, context_length=512, d_model=64, num_layers=3, num_heads=4, num_kv_heads=2, d_ff=192, init_std=64**-0.5
    )  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    model = Transformer(config, draw)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.01 * min((step + 1) / 50, 1 - step / steps)
        part = learned[torch.randint(len(learned) - 256, (4, 1), generator=draw) + torch.arange(257)]
        optimizer.zero_grad()
        model.loss(part[:, :-1], part[:, 1:]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    pieces = held[torch.linspace(0, len(held) - 258, 40).long()[:, None] + torch.arange(257)]
    return model.eval().requires_grad_(False), learned, pieces


def speculation_and_bytes(rounds: int, steps: int) -> None:
    model, learned, pieces = trained(steps)
    prompt = list(b"One day, Tom and Lily went to the ")
    draft = CountedDraft(learned[:300_000].tolist(), 5, 256)

    def drawn() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    run = speculative_generate(model, draft, prompt, 192, 4, generator=drawn())
    seconds = in_turn(
        rounds,
        plain=lambda: generate(model, torch.tensor([prompt]), 192, generator=drawn()),
        speculative=lambda: speculative_generate(model, draft, prompt, 192, 4, generator=drawn()),
    )
    print(f"speculative, 4 guesses of 5-grams: {192 / run.passes:.2f} tokens a pass, {seconds['plain'] / seconds['speculative']:.2f} times as fast as plain")  # fmt: skip

    def loss(one: Transformer) -> float:
        return one.loss(pieces[:, :-1], pieces[:, 1:]).item()

    weight = torch.randn(2048, 2048, generator=drawn())
    codes, scales = quantize_int8(weight, 128)
    x = torch.randn(1, 2048, generator=drawn())
    times = in_turn(rounds, float32=lambda: x @ weight.T, int8=lambda: x @ dequantize_int8(codes, scales).T)
    plain, less = loss(model), loss(requantized(model, lambda groups: symmetric(groups, 8), 32))
    print(
        f"int8: {(codes.nbytes + scales.nbytes) / weight.nbytes:.2f} of the bytes of float32, {times['int8'] / times['float32']:.1f} "
        f"times its seconds when it is made float32 for each product, held-out loss {plain:.4f} and {less:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=600, help="of training the small model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    print(
        f"Python {sys.version.split()[0]}, torch {torch.__version__}, transformers {transformers.__version__}, one thread, "
        f"processor time, medians of {options.rounds}"
    )
    missed = beside_transformers(options.rounds) + batching(options.rounds)
    speculation_and_bytes(options.rounds, options.steps)
    if missed:
        sys.exit(f"below target: {', '.join(missed)}")


if __name__ == "__main__":
    main()
