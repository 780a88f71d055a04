"""Every fused function, and a small model of them, under torch.compile: one line of JSON for each, {name: what went wrong}.

A process of its own: a type checker's wrappers, which pytest puts around the course's functions, are none of the graph.
"""

import json
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.library import opcheck

from cs336lite import flash, kernels, tiles
from cs336lite.kernels import DEVICE

warnings.simplefilter("ignore")
torch.set_num_threads(1)
draws = torch.Generator().manual_seed(0)


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=draws).to(DEVICE).requires_grad_()


targets, seen = torch.arange(6, device=DEVICE) - 1, torch.ones(9, 9, dtype=torch.bool, device=DEVICE).tril()
targets[0] = kernels.IGNORE
angles, at = torch.linspace(0, 1, 36, device=DEVICE).view(9, 4), torch.arange(9, device=DEVICE)
qkv = draw(1, 4, 9, 8), draw(1, 2, 9, 8), draw(1, 9, 2, 8).detach().transpose(1, 2).requires_grad_()
CALLS: dict[str, tuple[Callable, list[Tensor]]] = {
    "add": (kernels.add, [draw(3, 5), draw(3, 5)]),
    "softmax": (lambda x: kernels.softmax(x, 0), [draw(3, 5)]),
    "rms_norm": (kernels.rms_norm, [draw(2, 3, 8), draw(8)]),
    "swiglu": (kernels.swiglu, [draw(3, 5), draw(3, 5)]),
    "swiglu_feed_forward": (kernels.swiglu_feed_forward, [draw(2, 3, 8), draw(6, 8), draw(6, 8), draw(8, 6)]),
    "cross_entropy": (lambda x: kernels.cross_entropy(x, targets), [draw(6, 9)]),
    "linear_cross_entropy": (lambda h, w: kernels.linear_cross_entropy(h, w, targets, chunk=4), [draw(6, 8), draw(9, 8)]),
    "rope": (lambda x: kernels.rope(x, angles.cos(), angles.sin(), at), [draw(2, 9, 3, 8).detach().transpose(1, 2).requires_grad_()]),
    "matmul": (tiles.matmul, [draw(4, 5), draw(6, 5).detach().T.requires_grad_()]),
    "flash_attention": (flash.flash_attention, [*qkv]),
    "flash_attention, mask": (lambda q, k, v: flash.flash_attention(q, k, v, seen, causal=False), [*qkv]),
    "tiled_attention": (lambda q, k, v: flash.tiled_attention(q, k, v, seen), [*qkv]),
}  # fmt: skip


def gradients(function: Callable, inputs: list[Tensor]) -> list[Tensor]:
    """The result and the gradients, of a sum whose own gradient has no memory of its own (strides 0)."""
    out = function(*inputs)
    return [out.detach(), *torch.autograd.grad(out.sum() + out.square().sum(), inputs)]


def compared(function: Callable, inputs: list[Tensor]) -> str:
    """Nothing, or how the compiled function differs. fullgraph: a break is an error."""
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True, dynamic=False)
    for context in (torch.enable_grad, lambda: torch.autocast(DEVICE, torch.bfloat16)):
        with context():
            wanted, found = gradients(function, inputs), gradients(compiled, inputs)
        for a, b in zip(wanted, found):
            if a.dtype != b.dtype or not torch.equal(a, b):
                return f"differs by {(a - b).abs().max().item()}"
    return ""


def of_a_model() -> str:
    """Loss and gradients of a model with every slot filled, compiled whole."""
    from cs336lite.model import Transformer, TransformerConfig

    config = TransformerConfig(
        vocab_size=61, context_length=16, d_model=16, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=24,
        norm=kernels.RMSNorm, feed_forward=kernels.feed_forward, loss=kernels.linear_cross_entropy,
        attend=flash.FlashAttend(),
    )  # fmt: skip
    model = Transformer(config, torch.Generator().manual_seed(0)).to(DEVICE)
    tokens = torch.randint(0, 61, (2, 2, 12), generator=draws).to(DEVICE)

    def loss(*_: Tensor) -> Tensor:
        return model.loss(*tokens)

    return compared(loss, list(model.parameters()))


def lion() -> str:
    """The optimizer's step, which changes what it is given."""
    p, g, m = (draw(5, 3).detach() for _ in range(3))
    ours = [t.clone() for t in (p, g, m)]
    kernels.lion_step(p, g, m, lr=0.1, weight_decay=0.2)
    torch.compile(kernels.lion_step, backend="aot_eager", fullgraph=True)(*ours, lr=0.1, weight_decay=0.2)
    return "" if all(torch.equal(a, b) for a, b in zip((p, g, m), ours)) else "p or m differ"


def operators() -> dict[str, dict[str, object]]:
    """What PyTorch's own check says of the operators: schema, autograd, and shapes that are told without running."""
    kinds, x = ("test_schema", "test_autograd_registration", "test_faketensor"), CALLS
    q, k, v = qkv
    calls = {
        kernels._add: x["add"][1],
        kernels._softmax: [*x["softmax"][1], 2**15],
        kernels._rms_norm: [*x["rms_norm"][1], 1e-5],
        kernels._swiglu: x["swiglu"][1],
        kernels._feed_forward: x["swiglu_feed_forward"][1],
        kernels._cross_entropy: [*x["cross_entropy"][1], targets],
        kernels._linear_cross_entropy: [*x["linear_cross_entropy"][1], targets, 4, True, True],
        kernels._rope: [*x["rope"][1], angles.cos(), angles.sin(), at, "half", 1],
        kernels._lion_step: [*(draw(5, 3).detach() for _ in range(3)), 0.1, 0.9, 0.99, 0.9],
        tiles._matmul: x["matmul"][1],
        flash._flash: [q, k, v, seen, True, 0.3],
        flash._tiled: [q.unflatten(1, (2, 2)), k, v, None, True, 0.3],
    }
    return {op: opcheck(op, tuple(args), test_utils=kinds, raise_exception=False) for op, args in calls.items()}


if __name__ == "__main__":
    jobs: dict[str, Callable[[], str]] = {n: (lambda f=f, i=i: compared(f, i)) for n, (f, i) in CALLS.items()}
    jobs |= {"model": of_a_model, "lion_step": lion}
    for name, job in jobs.items():
        try:
            said = job()
        except Exception as problem:
            said = f"{type(problem).__name__}: {problem}"[:2_000]
        print(json.dumps({name: said}), flush=True)
    for op, told in operators().items():
        wrong = {kind: str(how) for kind, how in told.items() if how != "SUCCESS"}
        print(json.dumps({f"operator {op._name}": str(wrong) if wrong else ""}), flush=True)
