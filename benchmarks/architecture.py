"""Attention and a training step beside their peers: time and memory as ratios.

    python benchmarks/architecture.py            about two minutes
    python benchmarks/architecture.py --rounds 9

Contenders take turns in one process, on one thread; what counts is processor time, the median over the rounds of the ratio
to the peer in the same round. Memory is by how much one forward and backward pass
raises the peak of a fresh process's resident size (Linux only). A run fails when two contenders disagree.

- attention: grouped queries through `cs336lite.attention.MultiHeadAttention`, with the formula written out, with
  PyTorch's fused kernel in its slot, which reads shared heads as they are, and with the same kernel given a copy of them
  for every query head, as a module that knows of no such slot does; beside the same projections around a direct call of that kernel, and around the
  formula that keeps every score.
- training step: the tiny Llama of `cs336lite.model` beside `transformers`' LlamaForCausalLM of the same shape.
"""

import argparse
import functools
import json
import math
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from targets import told
from turns import in_turn, over

BATCH, HEADS, KV_HEADS, D_HEAD = 2, 8, 2, 64
LENGTHS = (512, 1_024, 2_048)
CONTENDERS = ("ours, fused", "ours, repeated", "ours, plain", "SDPA, direct", "naive")


def attention(contender: str, seq: int) -> tuple[Callable[[], torch.Tensor], list[torch.Tensor]]:
    """A forward pass of causal grouped-query attention with projections, and what gets gradients."""
    from cs336lite.attention import MultiHeadAttention, scaled_dot_product_attention
    from cs336lite.model import sdpa

    torch.manual_seed(0)
    slots = {"ours, fused": sdpa, "ours, repeated": lambda *heads_and_mask: sdpa(*heads_and_mask)}  # hides shares_heads
    fused = contender in slots
    attend = slots.get(contender, scaled_dot_product_attention)
    module = MultiHeadAttention(HEADS * D_HEAD, HEADS, KV_HEADS, attend=attend, causal=not fused)
    x = torch.randn(BATCH, seq, HEADS * D_HEAD, requires_grad=True)
    tensors = [x, *module.parameters()]
    if contender.startswith("ours"):
        return lambda: module(x), tensors

    def split(heads: torch.Tensor) -> torch.Tensor:
        return heads.view(BATCH, seq, -1, D_HEAD).transpose(1, 2)

    def direct() -> torch.Tensor:
        q, k, v = (split(linear(x)) for linear in (module.q_proj, module.k_proj, module.v_proj))
        if contender == "SDPA, direct":
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        else:
            k, v = (heads.repeat_interleave(HEADS // KV_HEADS, dim=1) for heads in (k, v))
            scores = (q @ k.mT / D_HEAD**0.5).masked_fill(~torch.ones(seq, seq, dtype=torch.bool).tril(), -torch.inf)
            out = scores.softmax(-1) @ v
        return module.o_proj(out.transpose(1, 2).reshape(BATCH, seq, -1))

    return direct, tensors


def both_passes(forward: Callable[[], torch.Tensor], tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(torch.autograd.grad(forward().square().mean(), tensors))


def memory(contender: str, seq: int) -> float:
    """MiB by which a forward and backward pass raises the resident size of a fresh process; nan where no /proc is."""
    if not Path("/proc/self/clear_refs").exists():
        return math.nan
    command = [sys.executable, __file__, "--memory-of", contender, "--seq", str(seq)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def resident(peak: bool) -> int:
    """KiB of this process now, or at most since the last call for now."""
    if not peak:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    field = "VmHWM" if peak else "VmRSS"
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text()).group(1))


def print_memory(contender: str, seq: int) -> None:
    both_passes(*attention(contender, 64))  # whatever is loaded on first use
    forward, tensors = attention(contender, seq)
    before = resident(peak=False)
    both_passes(forward, tensors)
    print(json.dumps((resident(peak=True) - before) / 2**10))


def compare_attention(rounds: int) -> None:
    print(f"causal attention, batch {BATCH}, {HEADS} heads on {KV_HEADS}, d_head {D_HEAD}, float32, with projections;")
    print("each over SDPA called directly (target for ours, fused: at most 1.1)")
    print(f"{'':<16}{'length':>7}{'forward':>10}{'both':>8}{'memory':>9}")
    for seq in LENGTHS:
        made = {name: attention(name, seq) for name in CONTENDERS}
        wanted = both_passes(*made["naive"])
        for name, (forward, tensors) in made.items():
            for got, expected in zip(both_passes(forward, tensors), wanted):
                torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-3, msg=f"{name} differs at {seq}")
        with torch.no_grad():
            ahead = in_turn({name: forward for name, (forward, _) in made.items()}, rounds)
        both = in_turn({name: functools.partial(both_passes, *pair) for name, pair in made.items()}, rounds)
        peaks = {name: memory(name, seq) for name in CONTENDERS}
        for name in CONTENDERS:
            ratios = [over(found, name, "SDPA, direct") for found in (ahead, both)]
            ratios.append(peaks[name] / peaks["SDPA, direct"])
            if name == "ours, fused":
                told(f"attention over SDPA, length {seq}, forward", ratios[0], at_most=1.1)
                told(f"attention over SDPA, length {seq}, both passes", ratios[1], at_most=1.1)
            print(f"{name:<16}{seq:>7}{ratios[0]:>10.2f}{ratios[1]:>8.2f}{ratios[2]:>9.2f}")


def training_steps() -> dict[str, Callable[[], object]]:
    """One step of each: forward, loss, backward, clipping, AdamW. Their first losses must agree."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from cs336lite.course.hugging_face import from_hugging_face
    from cs336lite.model import Transformer, TransformerConfig

    config = TransformerConfig(
        vocab_size=1_024, context_length=128, d_model=192, num_layers=4, num_heads=6, num_kv_heads=2, d_ff=512,
        positions="rope_half", attend="sdpa",
    )  # fmt: skip
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1_024, max_position_embeddings=128, hidden_size=192, num_hidden_layers=4,
            num_attention_heads=6, num_key_value_heads=2, intermediate_size=512, rms_norm_eps=config.norm_eps,
            tie_word_embeddings=False,
        )
    )  # fmt: skip
    ours = Transformer(config)
    ours.load_state_dict(from_hugging_face(theirs.state_dict(), config, "llama"))
    text = torch.randint(1_024, (16, 129))
    inputs, targets = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    losses = {
        "ours": lambda: ours.loss(inputs, targets),
        "transformers": lambda: theirs(input_ids=inputs, labels=inputs, shift_labels=targets).loss,
    }
    first = [loss().item() for loss in losses.values()]
    if abs(first[0] - first[1]) > 1e-4:
        sys.exit(f"the two models do not agree: their losses are {first}")

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> None:
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return {
        name: functools.partial(step, model, torch.optim.AdamW(model.parameters(), fused=True), losses[name])
        for name, model in (("ours", ours), ("transformers", theirs))
    }


def compare_training(rounds: int) -> None:
    seconds = in_turn(training_steps(), 3 * rounds)  # a step is short
    print("\ntiny Llama, 4 layers, d_model 192, batch 16 x 128, float32: a training step")
    ratio = over(seconds, "ours", "transformers")
    told("training step of the tiny Llama over transformers'", ratio, at_most=1)
    print(f"ours over transformers: {ratio:.2f} (target: at most 1)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--seq", type=int, default=1_024, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if options.memory_of:
        print_memory(options.memory_of, options.seq)
        return
    print(f"torch {torch.__version__}, one thread, {platform.processor() or platform.machine()}")
    compare_attention(options.rounds)
    compare_training(options.rounds)


if __name__ == "__main__":
    main()
