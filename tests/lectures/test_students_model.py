"""The model of lecture 03 around a student's attention and RoPE: the reference's logits, with a cache and with padding."""

import inspect
import json
import subprocess
import sys

import pytest
from catalogue import solutions
from helpers import ROOT

from cs336lite.rope import PartialRotaryPositionalEmbedding

RUN = '''
import importlib, json, sys, types
import torch

torch.set_num_threads(1)
NAMES = ("llama2-70b", "palm-8b", "chatglm2-6b", "t5-small", "glm-10b", "transformer-xl-enwik8-12l", "bloom-176b")
OURS = [f"cs336lite.{name}" for name in ("attention", "rope", "positions", "generation", "model", "presets")]


def package(sources):
    """cs336lite.model and presets, made anew around these sources of modules."""
    for name in OURS:
        sys.modules.pop(name, None)
    for name, source in sources.items():
        module = sys.modules[name] = types.ModuleType(name)
        exec(compile(source, name, "exec"), module.__dict__)
    return tuple(importlib.import_module(f"cs336lite.{name}") for name in ("model", "presets"))


def draw(seed, batch, seq):
    return torch.randint(64, (batch, seq), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits(sources, name, weights=None):
    model_module, presets = package(sources)
    model = model_module.Transformer(presets.tiny(name, init_std=0.2), torch.Generator().manual_seed(0)).eval()
    if weights is not None:
        model.load_state_dict(weights)
    x = draw(0, 2, 12)
    read = {"context": model.encode(draw(1, 2, 9))} if model.encoder is not None else {}
    real = torch.arange(12) >= torch.tensor([[0], [4]])
    places = (real.cumsum(-1) - 1).clamp(min=0)
    if model.config.positions == "glm":
        places, read = torch.stack((places, places // 2), 1), {"prefix": torch.tensor([5, 7])}
    cache = model.new_cache()
    parts = [model(part, cache=cache, **read) for part in x.split([6, 1, 3, 1, 1], 1)]
    padded = model(x, padding=real, token_positions=places, **read)[real]
    rest = model_module.generate(model, x, 6, temperature=0, padding=real) if not read else x
    return model.state_dict(), [model(x, **read), torch.cat(parts, 1), padded, rest.float()]


said = {}
pairs = json.load(sys.stdin)
wanted = {name: logits({}, name) for name in NAMES}
for title, sources in pairs.items():
    for name in NAMES:
        weights, right = wanted[name]
        try:
            found = logits(sources, name, weights)[1]
            far = [(a - b).abs().max().item() for a, b in zip(found, right)]
            problem = "" if max(far) < 1e-3 else f"whole, cached, padded, generated differ by {far}"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            said[f"{title}, {name}"] = problem
print(json.dumps({"count": len(pairs) * len(NAMES), "problems": said}))
'''


def judge(pairs: dict[str, dict[str, str]]) -> dict:
    run = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(pairs), capture_output=True, text=True, cwd=ROOT, timeout=600
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def as_exported(rope: str) -> str:
    """A student's answers to a3 with the cell that the assignment gives: what its last cell puts into the package."""
    given = inspect.getsource(PartialRotaryPositionalEmbedding)
    return f"{rope}\n\nfrom jaxtyping import Float, Int\nfrom torch import Tensor, nn\n\n{given}"


def pairs_of_right_ones() -> dict[str, dict[str, str]]:
    """Every attention with some RoPE, every RoPE with some attention."""
    attentions, ropes = solutions("a2_attention", "right"), solutions("a3_rope", "right")
    found = {}
    for i in range(max(len(attentions), len(ropes))):
        a, r = attentions[i % len(attentions)], ropes[i % len(ropes)]
        found[f"{a.name} and {r.name}"] = {"cs336lite.attention": a.source, "cs336lite.rope": as_exported(r.source)}
    return found


def test_the_model_runs_on_every_right_attention_and_rope():
    pairs = pairs_of_right_ones()
    said = judge(pairs)
    assert len(pairs) >= 6 and said["count"] == len(pairs) * 7
    assert not said["problems"], json.dumps(said["problems"], indent=1)


@pytest.mark.parametrize("assignment, name", [("a2_attention", "wrong_unscaled"), ("a3_rope", "wrong_always_half")])
def test_a_wrong_one_is_noticed(assignment, name):
    wrong = next(s for s in solutions(assignment, "wrong") if s.name == name)
    a2 = {"cs336lite.attention": wrong.source}
    a3 = {"cs336lite.rope": as_exported(wrong.source)}
    said = judge({"wrong": a2 if assignment == "a2_attention" else a3})["problems"]
    assert "wrong, chatglm2-6b" in said and "differ by" in said["wrong, chatglm2-6b"]
