r"""Hidden checks of a2_attention: 100 points, judged through `softmax`, `scaled_dot_product_attention`, `padding_mask`
and `MultiHeadAttention` alone.

Each exercise is judged twice. Its last check is *together*: ordinary input, everything that the student wrote at once,
compared number by number. It carries half of the points, so that what would not work in a model costs what it is worth.
The checks before it say why, and carry the other half. Each of these meets one difficulty and no other: where the scale
does not matter all scores are equal, where the split into heads does not matter there is one head, and the module gets
an `attend` of the checks' own, so that an error in the student's attention is met by the checks of attention and by
what is together.

Expected answers come from the slow definitions below, in float64 and head by head. A misconception is the same
definition with one part replaced, so a wrong answer can be recognised and named.

What comes back was made where the student's code lives, and may be made up. So each check asks for numbers that follow
from fresh inputs and compares them here; where those numbers alone say little (all scores equal, one token), or the
check is about what happens on the way, a gate comes first: an ordinary question that nothing but a softmax, an
attention or a module can answer, whatever else is wrong with it. The same gates find out how a solution wants to be
asked (`Manner`, `Build`), where that is a matter of style, and lend it what it does not have (`lend`) after that has
cost its points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from math import isfinite
from random import Random
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from numpy import ndarray
from torch import Tensor

from cs336lite.course.answers import ORDINARY, anything, close, either, like, list_of, same, some_tensor
from cs336lite.course.answers import ask as ask_for
from cs336lite.course.spec import Fail, StudentError, check, expect
from cs336lite.course.spec import drawn as drawn_once

WARM = ("torch", "einops", "jaxtyping", "torch.fx.experimental.symbolic_shapes")  # the last for torch.broadcast_shapes
REFUSED = (  # an exercise is to write them
    "torch.softmax",
    "torch.Tensor.softmax",
    "torch.nn.functional.softmax",
    "torch.special.softmax",
    "torch._softmax",
    "torch._safe_softmax",
    "torch.sparse.softmax",
    "torch.masked.softmax",
    "torch.log_softmax",
    "torch.Tensor.log_softmax",
    "torch.nn.functional.log_softmax",
    "torch.special.log_softmax",
    "torch._log_softmax",
    "torch.ops.aten.softmax",
    "torch.ops.aten._softmax",
    "torch.ops.aten._safe_softmax",
    "torch.nn.functional.scaled_dot_product_attention",
    "torch._C._nn.scaled_dot_product_attention",
    "torch.ops.aten.scaled_dot_product_attention",
    "torch._scaled_dot_product_attention_math",
    "torch.nn.functional.multi_head_attention_forward",
    "torch._native_multi_head_attention",
    "torch.nn.MultiheadAttention",
    "torch.nn.modules.activation.MultiheadAttention",
    *("torch._C._te.lower", "torch._C._te.TensorExprKernel"),  # these compile any operation
    *(
        "*softmax*",
        "*scaled_dot_product*",
        "*multi_head_attention*",
        "*math_attention*",
        "flex_attention*",
        "attention*",
    ),
    *("sdpa_dense*", "*transformer_encoder_layer*"),  # under whatever other name the library has them
)
ATTENTION = ("Vaswani et al. 2017, Attention Is All You Need, section 3.2.1", "https://arxiv.org/abs/1706.03762")
HEADS = ("Vaswani et al. 2017, Attention Is All You Need, section 3.2.2", "https://arxiv.org/abs/1706.03762")
READ = {  # where to read on, by exercise
    "softmax": ATTENTION,
    "attention": ATTENTION,
    "multi_head": HEADS,
    "grouped": ("Ainslie et al. 2023, GQA, section 2.2", "https://arxiv.org/abs/2305.13245"),
    "masks": ("Vaswani et al. 2017, Attention Is All You Need, section 3.2.3", "https://arxiv.org/abs/1706.03762"),
    "cross": ("Vaswani et al. 2017, Attention Is All You Need, section 3.2.3", "https://arxiv.org/abs/1706.03762"),
    "positions": ("Shazeer 2019, Fast Transformer Decoding, section 2.4", "https://arxiv.org/abs/1911.02150"),
}
INF = float("inf")


# ---------------------------------------------------------------------------------------------------------------------
# Inputs


def drawn(draw: Callable) -> Callable:
    """`spec.drawn` for values that hold tensors, which pickle copies ten times slower than arrays."""
    remembered = drawn_once(lambda rng, *args: exchanged(draw(rng, *args), Tensor, Tensor.numpy))
    return wraps(draw)(lambda rng, *args: exchanged(remembered(rng, *args), ndarray, torch.from_numpy))


def exchanged(value: Any, kind: type, change: Callable) -> Any:
    """A value in which everything of one kind has been changed, in lists, tuples and dicts too."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(exchanged(part, kind, change) for part in value)
    if isinstance(value, dict):
        return {key: exchanged(part, kind, change) for key, part in value.items()}
    return value


def normal(rng, *shape: int) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(rng.getrandbits(60)), dtype=torch.float64)


def symmetric(rng, n: int) -> Tensor:
    """A symmetric matrix: along the other dimension its softmax is the same, transposed."""
    half = normal(rng, n, n)
    return half + half.mT


def regular_mask(rng, n: int, allowed: int) -> Tensor:
    """A random n by n mask with as many True in each row as in each column."""
    shift = (torch.arange(n)[:, None] - torch.arange(n)) % n < allowed
    rows, columns = rng.sample(range(n), n), rng.sample(range(n), n)
    return shift[rows][:, columns]


# ---------------------------------------------------------------------------------------------------------------------
# The definitions, slowly


def weights_of(scores: Tensor, dim: int = -1) -> Tensor:
    """Softmax; zeros where all scores are -inf."""
    peak = scores.amax(dim, keepdim=True)
    powers = (scores - torch.where(peak == -INF, torch.zeros_like(peak), peak)).exp()
    total = powers.sum(dim, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


def attend_to(Q: Tensor, K: Tensor, V: Tensor, allowed: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Attention for matrices and whatever stands in front; ``scale`` multiplies the scores."""
    scores = torch.einsum("...qd,...kd->...qk", Q, K) * (Q.shape[-1] ** -0.5 if scale is None else scale)
    if allowed is not None:
        scores = torch.where(allowed, scores, torch.tensor(-INF, dtype=scores.dtype))
    return torch.einsum("...qk,...kd->...qd", weights_of(scores), V)


def split_right(x: Tensor, heads: int) -> Tensor:
    """(batch, seq, heads * d) to (batch, heads, seq, d): head h owns the features from h * d on."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def split_by_view(x: Tensor, heads: int) -> Tensor:
    return x.reshape(x.shape[0], heads, x.shape[1], -1)


def split_interleaved(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)


def join_right(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def join_by_view(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], x.shape[2], -1)


def join_interleaved(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(2)


def turned(x: Tensor, positions: Tensor) -> Tensor:
    """The stand-in for rotary positions, of the same kind as the one in `drive_module`.

    Unlike the real one it shows absolute positions, so that a wrong start of the numbering is seen.
    """
    steps = positions.to(x.dtype).unsqueeze(-1)
    ramp = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
    return x * (1 + 0.3 * steps) + 0.4 * steps * ramp


def normed(x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt()


def module_of(
    x: Tensor,
    w: dict[str, Tensor],
    heads: int,
    kv_heads: int | None = None,
    *,
    allowed: Tensor | None = None,
    context: Tensor | None = None,
    split: Callable[[Tensor, int], Tensor] = split_right,
    join: Callable[[Tensor], Tensor] = join_right,
    share: Callable[[int, int, int], int] = lambda head, group, kv_heads: head // group,
    prepare: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] = lambda q, k, v: (q, k, v),
    scale: float | None = None,
    transposed: bool = False,
    project: bool = True,
) -> Tensor:
    """The module's output; ``prepare`` does what is done to the heads between projection and attention."""
    kv_heads = heads if kv_heads is None else kv_heads
    source = x if context is None else context

    def linear(z: Tensor, name: str) -> Tensor:
        weight = w[f"{name}.weight"]
        return z @ (weight if transposed else weight.mT) + w.get(f"{name}.bias", torch.zeros(()))

    q = split(linear(x, "q_proj"), heads)
    k, v = split(linear(source, "k_proj"), kv_heads), split(linear(source, "v_proj"), kv_heads)
    q, k, v = prepare(q, k, v)
    one_by_one = []
    for head in range(heads):
        kv = share(head, heads // kv_heads, kv_heads)
        may = None if allowed is None else allowed.expand(x.shape[0], heads, *allowed.shape[-2:])[:, head]
        one_by_one.append(attend_to(q[:, head], k[:, kv], v[:, kv], may, scale))
    joined = join(torch.stack(one_by_one, dim=1))
    return linear(joined, "o_proj") if project else joined


def causal_of(n: int, past: int = 0) -> Tensor:
    """(n, past + n): which keys the last n tokens may attend to."""
    return torch.arange(past + n) <= past + torch.arange(n)[:, None]


def weights_for(rng, d_model: int, heads: int, kv_heads: int, d_head: int, bias: bool = False) -> dict[str, Tensor]:
    """Weights of the four projections, in nn.Linear's layout, so large that attention has something to choose."""
    outputs = {"q_proj": heads * d_head, "k_proj": kv_heads * d_head, "v_proj": kv_heads * d_head, "o_proj": d_model}
    made = {}
    for name, size in outputs.items():
        inputs = heads * d_head if name == "o_proj" else d_model
        made[f"{name}.weight"] = normal(rng, size, inputs) * 1.5 * inputs**-0.5
        if bias:
            made[f"{name}.bias"] = normal(rng, size)
    return made


# ---------------------------------------------------------------------------------------------------------------------
# Drivers: each runs where the student's code lives and must stand alone


def drive_softmax(student, jobs):
    """The weights of each (x, dim), and x afterwards."""
    answers = []
    for x, dim in jobs:
        x = x.clone()
        answers.append((student.softmax(x, dim), x))
    return answers


def drive_float16(student):
    """Whether torch itself can turn float16 into float32 here; in some jails it cannot."""
    import torch

    try:
        return float(torch.ones(1, dtype=torch.float16).float()) == 1.0
    except RuntimeError:
        return False


def drive_softmax_gradient(student, x, dim, factor):
    """The gradient of the weighted sum of weights, or None."""
    x = x.clone().requires_grad_()
    total = (student.softmax(x, dim) * factor).sum()
    if not total.requires_grad:
        return None
    total.backward()
    return x.grad


def drive_attention(student, jobs):
    """The result of each (Q, K, V, mask), and these four afterwards."""
    answers = []
    for job in jobs:
        Q, K, V, mask = (None if tensor is None else tensor.clone() for tensor in job)
        extra = () if mask is None else (mask,)
        answers.append((student.scaled_dot_product_attention(Q, K, V, *extra), [Q, K, V, mask]))
    return answers


def drive_attention_with_none(student, Q, K, V):
    """The result where no mask is given, in two ways, or the name of what it raises."""
    answers = []
    for options in ({}, {"mask": None}):
        try:
            answers.append(student.scaled_dot_product_attention(Q.clone(), K.clone(), V.clone(), **options))
        except Exception:
            answers.append("raised")
    return answers


def drive_padding_mask(student, lengths, k):
    return student.padding_mask(lengths, k)


def drive_lend(student, parts):
    """Put something that works in place of each part that a submission does not have; what was there is gone."""
    import torch

    def lent_softmax(input, dim=None, _stacklevel=3, dtype=None):
        import torch

        scores = input if dtype is None else input.to(dtype)
        peak = scores.detach().amax(dim, keepdim=True)
        powers = (scores - peak.masked_fill(peak == -torch.inf, 0)).exp()
        return (powers / powers.sum(dim, keepdim=True).clamp(min=1)).to(scores.dtype)

    if "softmax" in parts:
        student.softmax = lambda x, dim=-1: lent_softmax(x, dim)
    if "library" in parts:
        functional = torch.nn.functional.softmax
        if hasattr(functional, "__code__"):
            functional.__code__ = lent_softmax.__code__  # also where it was imported by name
        for owner in (torch, torch.special):
            owner.softmax = lent_softmax
        torch.Tensor.softmax = lent_softmax
    return True


def drive_sizes(student, sizes):
    """For each (d_model, heads, options): "made", "ValueError", or "raised" for another exception."""
    answers = []
    for d_model, heads, options in sizes:
        try:
            student.MultiHeadAttention(d_model, heads, **options)
            answers.append("made")
        except ValueError:
            answers.append("ValueError")
        except Exception:
            answers.append("raised")
    return answers


def drive_attention_gradients(student, Q, K, V, mask, factor):
    """The gradients of the weighted sum of the result for Q, K and V, each of which may be None; or None."""
    inputs = [tensor.clone().requires_grad_() for tensor in (Q, K, V)]
    extra = () if mask is None else (mask,)
    total = (student.scaled_dot_product_attention(*inputs, *extra) * factor).sum()
    if not total.requires_grad:
        return None
    total.backward()
    return [tensor.grad for tensor in inputs]


def drive_parameters(student, d_model, heads, options):
    """Name, shape and whether it is trained, of each parameter that the module has registered."""
    module = student.MultiHeadAttention(d_model, heads, **options)
    if not hasattr(module, "named_parameters"):
        return None, []
    found = [(name, list(p.shape), bool(p.requires_grad)) for name, p in module.named_parameters()]
    return found, list(module.state_dict())


def drive_module(student, d_model, heads, options, weights, calls):
    """The outputs of one module for several calls, the inputs afterwards, and what it gave to its slots.

    ``options["stand_ins"]`` names the slots to be filled; a call is a dict of the arguments of forward, in which a true
    ``cache`` stands for one cache that all the calls share, and which may begin with other ``weights`` or with the
    conversion of module and x to another ``dtype``. With ``options["factor"]`` there is one call, and the gradients of
    the weighted sum of its output for x and for each of the weights. ``options["marks"]`` is what "marked" does to the
    result of attention. ``options["by_head"]``: a weight that holds queries, keys and values holds them head by head.
    ``options["short"]``: everything in float32.
    """
    import torch

    seen = {"attend": [], "norm": [], "rope": [], "cache": []}

    class NoProjection(Exception):
        pass

    class WrongShape(Exception):
        pass

    class PositionsDoNotBroadcast(Exception):
        pass

    def attend(Q, K, V, mask=None):
        seen["attend"].append((list(Q.shape), list(K.shape), list(V.shape), None if mask is None else str(mask.dtype)))
        if K.shape[1] != Q.shape[1]:
            K, V = (z.repeat_interleave(Q.shape[1] // z.shape[1], 1) for z in (K, V))
        scores = Q @ K.transpose(-1, -2) * Q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        peak = scores.detach().amax(-1, keepdim=True)
        powers = torch.exp(scores - peak.masked_fill(peak == -torch.inf, 0))
        return powers / powers.sum(-1, keepdim=True).clamp(min=1) @ V

    def marked(Q, K, V, mask=None):
        return marks[0] * attend(Q, K, V, mask) + marks[1]

    class Rope(torch.nn.Module):
        def forward(self, x, token_positions):
            try:
                at = token_positions.broadcast_to(x.shape[:-1])
            except RuntimeError:
                raise PositionsDoNotBroadcast from None
            seen["rope"].append(at.clone())
            steps = at.to(x.dtype).unsqueeze(-1)
            ramp = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
            return x * (1 + 0.3 * steps) + 0.4 * steps * ramp

    class Norm(torch.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(size, dtype=kind))
            own.append(self.weight)

        def forward(self, x):
            seen["norm"].append(list(x.shape))
            return x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * self.weight

    class Cache:
        def __init__(self):
            self.k = self.v = None

        @property
        def length(self):
            return 0 if self.k is None else self.k.shape[2]

        def update(self, k, v):
            seen["cache"].append((k.detach().clone(), v.detach().clone()))
            self.k = k if self.k is None else torch.cat([self.k, k], 2)
            self.v = v if self.v is None else torch.cat([self.v, v], 2)
            return self.k, self.v

    made, own = [], []

    def qk_norm(size):
        made.append(int(size))
        return Norm(size)

    options = dict(options)
    stand_ins, marks = options.pop("stand_ins"), options.pop("marks", (1, 0))
    factor, by_head = options.pop("factor", None), options.pop("by_head", False)
    kind = torch.float32 if options.pop("short", False) else torch.float64
    slots = {"attend": attend, "marked": marked, "rope": Rope(), "qk_norm": qk_norm}
    slots["own"] = getattr(student, "scaled_dot_product_attention", None)
    for name in stand_ins:
        options["attend" if name in ("marked", "own") else name] = slots[name]
    module = student.MultiHeadAttention(d_model, heads, **options)

    def role(name):
        """Which projection a parameter's name speaks of: some of the letters q, k, v and o."""
        parts = [part for part in name.lower().split(".") if part not in ("weight", "bias") and not part.isdigit()]
        bare = parts[-1] if parts else ""
        for word in ("projection", "proj", "weights", "weight", "linear", "layer", "attn", "to_", "w", "_", "bias"):
            bare = bare.replace(word, "")
        known = {"query": "q", "queries": "q", "key": "k", "keys": "k", "value": "v", "values": "v"}
        known |= {"out": "o", "output": "o", "": "o", "qkv": "qkv", "kv": "kv", "c": "qkv" if "attn" in name else "o"}
        known |= {"in": "qkv"}
        return known.get(bare, bare if bare in ("q", "k", "v", "o") else "")

    def pieces_of(tensors, blocks):
        """Where the rows of each block stand: (tensor, row there, row in the block, count), one tensor after another."""
        found = {name: [] for name, _ in blocks}
        if len(tensors) == 1 and len(blocks) == 3 and by_head:
            size = blocks[0][1] // heads
            for i in range(3 * heads):
                found[blocks[i % 3][0]].append((tensors[0], i * size, i // 3 * size, size))
            return found
        for name, count in blocks:
            filled = 0
            while filled < count:
                tensor, at = next(((t, used[id(t)]) for t in tensors if used[id(t)] < len(t)), (None, 0))
                if tensor is None:
                    raise WrongShape
                step = min(count - filled, len(tensor) - at)
                found[name].append((tensor, at, filled, step))
                used[id(tensor)], filled = at + step, filled + step
        return found

    used = {}

    def places_of(kind_of, ndim):
        """Where the weights (or the biases) are, under whatever names: see `pieces_of`."""
        sizes = {n.split("_")[0]: len(v) for n, v in weights.items() if n.endswith(kind_of)}
        others = [(n, p) for n, p in module.named_parameters() if p.ndim == ndim and all(p is not o for o in own)]
        used.update({id(p): 0 for _, p in others})
        by_role = {}
        for name, parameter in others:
            by_role.setdefault(role(name), []).append(parameter)
        if set(by_role) == {"q", "k", "v", "o"}:
            groups = [(by_role[letter], letter) for letter in "qkvo"]
        elif set(by_role) == {"qkv", "o"} or len(others) == 2:
            groups = [([others[0][1]], "qkv"), ([others[-1][1]], "o")]
        elif set(by_role) == {"q", "kv", "o"} or len(others) == 3:
            groups = [([others[0][1]], "q"), ([others[1][1]], "kv"), ([others[-1][1]], "o")]
        elif len(others) == 4:
            groups = [([parameter], letter) for (_, parameter), letter in zip(others, "qkvo", strict=True)]
        else:
            raise NoProjection
        places = {}
        for tensors, letters in groups:
            found = pieces_of(tensors, [(letter, sizes[letter]) for letter in letters])
            places.update({f"{letter}_proj.{kind_of}": pieces for letter, pieces in found.items()})
        return places

    def place(name):
        projection, kind_of = name.split(".")
        owner = getattr(module, projection, None)
        if owner is not None:
            tensor = getattr(owner, kind_of, owner)
            if not isinstance(tensor, torch.Tensor) or list(tensor.shape) != list(weights[name].shape):
                raise WrongShape
            return [(tensor, 0, 0, len(tensor))]
        if not hasattr(module, "named_parameters"):
            raise NoProjection
        return places_of(kind_of, weights[name].ndim)[name]

    def fill(values):
        for name, value in values.items():
            for tensor, at, start, count in placed[name]:
                if list(tensor.shape[1:]) != list(value.shape[1:]):
                    raise WrongShape
                new = tensor.data.to(kind).clone()
                new[at : at + count] = value[start : start + count]
                tensor.data = new

    def slope_of(name):
        parts = [(start, tensor.grad, at, count) for tensor, at, start, count in placed[name]]
        if any(gradient is None for _, gradient, _, _ in parts):
            return None
        return torch.cat([gradient[at : at + count] for _, gradient, at, count in sorted(parts, key=lambda p: p[0])])

    placed = {name: place(name) for name in weights}
    if factor is not None:
        for pieces in placed.values():
            for tensor, *_ in pieces:
                tensor.requires_grad_()
    taken = {id(tensor) for pieces in placed.values() for tensor, *_ in pieces}
    fill(weights)
    for _, parameter in module.named_parameters() if hasattr(module, "named_parameters") else ():
        if id(parameter) not in taken and all(parameter is not one for one in own):
            parameter.data = parameter.data.to(kind) * 0 if parameter.ndim == 1 else parameter.data.to(kind)
    cache, outputs, inputs, gradients = Cache(), [], [], None
    for call in calls:
        arguments = dict(call)
        x = arguments.pop("x").clone().to(kind)
        fill(arguments.pop("weights", {}))
        if "dtype" in arguments:
            dtype = getattr(torch, arguments.pop("dtype"))
            module.to(dtype)
            x = x.to(dtype)
        if "context" in arguments:
            arguments["context"] = arguments["context"].to(x.dtype)
        if factor is not None:
            x.requires_grad_()
        if arguments.get("cache"):
            arguments["cache"] = cache
        outputs.append(module(x, **arguments) if callable(module) else module.forward(x, **arguments))
        inputs.append(x)
    if factor is not None:
        total = (outputs[0] * factor.to(outputs[0].dtype)).sum()
        if total.requires_grad:
            total.backward()
            gradients = [None if x.grad is None else x.grad.double()]
            gradients += [None if slope is None else slope.double() for slope in map(slope_of, weights)]
        outputs, inputs = [out.detach() for out in outputs], []
    registered = [p for _, p in module.named_parameters()] if hasattr(module, "named_parameters") else []
    norms = sum(any(p is one for one in own) for p in registered)
    fused = any(len(tensor) > count for name in weights for tensor, _, _, count in placed[name])
    found = {"norms": norms, "fused": fused, "made": made}
    return {"out": outputs, "after": inputs, "gradients": gradients, **found, **seen}


# ---------------------------------------------------------------------------------------------------------------------
# Asking and judging


TENSOR = some_tensor(1000)  # what is judged later, with messages of its own


def ask(student, form: Any, driver: Callable, *args: Any, problems: dict[str, str] | None = None) -> Any:
    """`answers.ask`, with exceptions that betray a misconception (by type name) turned into a message."""
    try:
        return ask_for(student, form, driver, *args)
    except StudentError as error:
        if problems and error.kind in problems:
            raise Fail(problems[error.kind]) from error
        raise


def expect_shape(answer: Any, shape: Sequence[int], what: str) -> None:
    expect(answer is not None, f"None came back, is a `return` missing? {what}")
    expect(isinstance(answer, Tensor), f"what came back is no tensor: {what}")
    expect(answer.shape == torch.Size(shape), f"the shape is not the one asked for: {what}")
    expect(answer.dtype.is_floating_point, f"{what}, in a floating dtype")


def near(answer: Tensor, expected: Tensor, tolerance: float = 1e-5) -> bool:
    if isinstance(answer, Tensor) and answer.dtype == torch.float32:
        tolerance = max(tolerance, 3e-5)
    return close(answer, expected, tolerance, relative=tolerance)


TOGETHER = "it does not yet give what the formula gives; where another check fails, begin there"


def judge_together(
    answer: Any, expected: Tensor, where: str, what: str = "the result has the shape (..., q, dv)"
) -> None:
    """Fail unless an answer to ordinary questions is right; the other checks say why it is not."""
    expect_shape(answer, expected.shape, what)
    expect(near(answer, expected, 1e-4), f"{where}: {TOGETHER}")


def judge(
    answer: Any,
    expected: Tensor,
    otherwise: str,
    wrong: Iterable[tuple[Callable[[], Tensor], str]] = (),
    *,
    what: str = "the result has the shape (..., q, dv)",
    tolerance: float = 1e-5,
    at: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> None:
    """Fail unless ``answer`` is ``expected``, with the message of the misconception that gives this answer.

    ``at`` picks the part that is judged.
    """
    expect_shape(answer, expected.shape, what)
    if near(at(answer), at(expected), tolerance):
        return
    for make, message in wrong:
        expect(not is_like(make, at, answer, tolerance), message)
    expect(not bool(at(answer).isnan().any()), f"NaN in the result: {otherwise}")
    raise Fail(otherwise)


def is_like(make: Callable[[], Tensor], at: Callable, answer: Tensor, tolerance: float = 1e-5) -> bool:
    """Whether the answer is that of a misconception; one that does not fit these sizes is none."""
    try:
        return near(at(answer), at(make()), tolerance)
    except (RuntimeError, IndexError):
        return False


def once(gate: Callable) -> Callable:
    """A gate that a student passes once for all; each check draws the same for it, passed or not."""
    passed: WeakSet = WeakSet()

    @wraps(gate)
    def ask_once(student, rng) -> None:
        own = Random(rng.getrandbits(60))
        if student not in passed:
            gate(student, own)
            passed.add(student)

    return ask_once


def only(items: Sequence) -> Any:
    (item,) = items
    return item


def expect_slope(predicted: float, difference: float, of: str) -> None:
    """What the gradient predicts for a small step must be what the step changes."""
    message = f"the gradient through {of} is not that of what it computes: is a part of it detached?"
    expect(isfinite(difference), message)
    expect(abs(predicted - difference) <= 2e-5 + 0.02 * max(abs(predicted), abs(difference)), message)


def expect_gradient(gradient: Tensor | None, message: str) -> None:
    """The gradient is there, finite, and not all zeros."""
    expect(gradient is not None and bool((gradient != 0).any()), message)
    expect(bool(gradient.isfinite().all()), "NaN or infinity in a gradient of ordinary numbers")


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 1: softmax

KEEPS_SHAPE = "softmax keeps the shape of what it is given"


def either_way(answer: Any, expected: Tensor) -> Tensor:
    """Of a symmetric matrix: the answer, transposed where it was taken along the other dimension."""
    expect_shape(answer, expected.shape, KEEPS_SHAPE)
    return answer.mT if near(answer.mT, expected, 1e-3) else answer


@drawn
def ordinary_scores(rng) -> tuple[Tensor, Tensor]:
    x = symmetric(rng, 5)
    return x, weights_of(x)


def weights_for_each(student, *jobs: tuple[Tensor, int], problems: dict[str, str] | None = None) -> list[Any]:
    """What softmax gives for each (x, dim)."""
    form = list_of([anything, anything], len(jobs))
    return [weights for weights, _ in ask(student, form, drive_softmax, list(jobs), problems=problems)]


@once
def plausible(student, rng) -> None:
    """Fail for what is no softmax at all, before a side of it is judged."""
    x, expected = ordinary_scores(rng)
    answer = only(weights_for_each(student, (x, -1)))
    expect(near(either_way(answer, expected), expected, 0.05), "this is judged when ordinary scores give right weights")


@check("softmax", points=2, title="powers of e, divided by their sum")
def divides_by_the_sum(student, rng):
    x, expected = ordinary_scores(rng)
    answer = only(weights_for_each(student, (x, -1)))
    wrong = [
        (lambda: x.exp(), "the powers are not divided by their sum: the weights of a row must add up to 1"),
        (lambda: expected.log(), "these are logarithms of weights: softmax gives the weights themselves"),
        (lambda: x.exp() / x.exp().sum(), "the powers are divided by the sum over the whole tensor, not along dim"),
        (lambda: x / x.sum(-1, keepdim=True), "the scores themselves are divided by their sum: take exp first"),
        (lambda: weights_of(-x), "great scores get small weights: a sign is the wrong way round"),
        (lambda: (x - x.amax(-1, keepdim=True)).exp(), "the powers are not divided by their sum"),
    ]
    judge(either_way(answer, expected), expected, "the weights are not exp(x_i) / sum_j exp(x_j)", wrong)


@drawn
def scores_with_dims(rng) -> list[tuple[Tensor, int]]:
    x, y = normal(rng, 2, 3, 4), normal(rng, 3, 2, 2, 5)
    return [*((x, dim) for dim in rng.sample(range(-3, 3), 6)), (y, 1), (y, -2), (x[0, 0], 0)]


@check("softmax", points=1.5, title="along the dimension that is asked for")
def along_the_dimension(student, rng):
    weights_for_each(student, (ordinary_scores(rng)[0], -1))
    jobs = scores_with_dims(rng)
    problems = {"IndexError": "softmax fails for some dims: it must work along any dim, from the front or the back"}
    for (x, dim), answer in zip(jobs, weights_for_each(student, *jobs, problems=problems), strict=True):
        wrong = [
            (lambda x=x: weights_of(x, -1), "dim is ignored: the weights always run along the last dimension"),
            (lambda x=x: weights_of(x, 0), "dim is ignored: the weights always run along the first dimension"),
            (lambda x=x: weights_of(x, min(1, x.ndim - 1)), "dim is ignored: the weights always run along dimension 1"),
            (lambda x=x: x.exp() / x.exp().sum(), "the powers are divided by the sum over the whole tensor"),
        ]
        judge(answer, weights_of(x, dim), "the weights do not add up to 1 along dim", wrong, what=KEEPS_SHAPE)


@drawn
def great_scores(rng) -> list[Tensor]:
    level = torch.full((6, 6), -3e3, dtype=torch.float32)  # not greater: logsumexp, rounded, must be near enough
    level[:3, :3], level[3:, 3:] = 1e3, -1e3
    around = symmetric(rng, 6).float()
    small = symmetric(rng, 6).clamp(-1, 1).half()
    return [around + 1e3, around - 1e3, small + 13, around + level]


@check("softmax", points=2, title="scores of any size")
def scores_of_any_size(student, rng):
    plausible(student, rng)
    xs = great_scores(rng)
    halves = ask(student, bool, drive_float16)
    over = "scores that are large overflow: subtract the greatest score of each row before exp"
    under = "scores far below zero all vanish: subtract the greatest score of each row before exp"
    whole = (
        "rows far apart vanish or overflow: is the greatest score of the whole tensor subtracted? Take each row's own"
    )
    for x, message in zip(xs, (over, under, over, whole), strict=True):
        if x.dtype == torch.float16 and not halves:
            continue
        expected = weights_of(x.double())
        answer = only(weights_for_each(student, (x, -1)))
        tolerance = 2e-2 if x.dtype == torch.float16 else 1e-3
        judge(either_way(answer, expected), expected, message, tolerance=tolerance)


@drawn
def scores_without_any(rng) -> Tensor:
    x = symmetric(rng, 5)
    gone = rng.randrange(5)
    x[gone, :] = x[:, gone] = -INF
    return x


ZEROS = "a row of nothing but -inf must give zeros"


@check("softmax", points=1, title="a row of nothing but -inf gives zeros")
def nothing_to_choose(student, rng):
    plausible(student, rng)
    x = scores_without_any(rng)
    expected = weights_of(x)
    answer = only(weights_for_each(student, (x, -1)))
    answer = either_way(answer, expected)
    gone = (x == -INF).all(-1)
    expect(not bool(answer[gone].isnan().any()), f"{ZEROS}: 0/0 gives NaN")
    expect(not near(answer[gone], torch.full_like(answer[gone], 0.2), 1e-3), f"{ZEROS}: all weights are equal there")
    judge(answer, expected, f"{ZEROS}, and a score of -inf elsewhere the weight 0", what=KEEPS_SHAPE)


@check("softmax", points=0.5, title="no NaN in the gradient of such a row")
def nothing_to_learn(student, rng):
    plausible(student, rng)
    x = scores_without_any(rng)
    factor = 1e3 * normal(rng, *x.shape)  # so that what was divided by a tiny number overflows
    form = either(type(None), like(x, finite=False))
    gradient = ask(student, form, drive_softmax_gradient, x, -1, factor)
    expect(gradient is not None, "no gradient flows through softmax")
    message = (
        "a row of nothing but -inf has NaN in its gradient: replace what causes it (the maximum, the sum) before you "
        "subtract or divide, for a NaN that is replaced afterwards comes back in the gradient"
    )
    expect(not bool(gradient[(x == -INF).all(-1)].isnan().any()), message)
    expect(bool(gradient.isfinite().all()), "the gradient is not finite where single scores are -inf")
    expect(bool((gradient != 0).any()), "the gradient is zero: none flows through softmax")


def dtypes(student) -> tuple[torch.dtype, ...]:
    """float32, float64, and the short ones in which torch can compute there."""
    halves = (torch.float16,) if ask(student, bool, drive_float16) else ()
    return (torch.float32, torch.float64, torch.bfloat16, *halves)


@check("softmax", points=0.5, title="the dtype that came in")
def softmax_keeps_the_dtype(student, rng):
    plausible(student, rng)
    x, expected = ordinary_scores(rng)
    jobs = [(x.to(dtype), -1) for dtype in dtypes(student)]
    for (given, _), answer in zip(jobs, weights_for_each(student, *jobs), strict=True):
        expect_shape(answer, expected.shape, KEEPS_SHAPE)
        name = str(given.dtype).removeprefix("torch.")
        expect(answer.dtype == given.dtype, f"{name} goes in and another dtype comes out: return the dtype of x")
        if given.dtype == torch.float64:
            message = (
                "float64 comes back with the precision of float32: do not compute in float32 what comes in float64"
            )
            expect(near(either_way(answer, expected), expected, 1e-11), message)


@check("softmax", points=0.5, title="bfloat16 is computed in float32")
def bfloat16_in_float32(student, rng):
    plausible(student, rng)
    scores = (6 * normal(rng, 7, 7)).to(torch.bfloat16)
    weights = only(weights_for_each(student, (scores, -1)))
    expect_shape(weights, scores.shape, KEEPS_SHAPE)
    message = "in bfloat16 small weights are off by several percent: compute in float32, and return bfloat16"
    right = [weights_of(scores.double(), dim) for dim in (-1, 0)]  # dim: another check's affair
    within = [bool(((weights.double() - each).abs() <= 0.012 * each + 1e-30).all()) for each in right]
    expect(any(within), message)


@check("softmax", points=0.5, title="what is given stays as it is")
def softmax_changes_nothing(student, rng):
    plausible(student, rng)
    x = normal(rng, 3, 4)
    _, after = only(ask(student, list_of([anything, TENSOR], 1), drive_softmax, [(x, -1)]))
    expect(same(after, x), "x was changed: is an operation in place (-=, exp_, masked_fill_)?")


@check("softmax", points=0.5, title="gradients flow")
def softmax_gradient(student, rng):
    plausible(student, rng)
    x, factor = normal(rng, 3, 4), normal(rng, 3, 4)
    gradient = ask(student, either(type(None), like(x, finite=False)), drive_softmax_gradient, x, -1, factor)
    flows = "no gradient flows through softmax: is there a detach, .data, no_grad or numpy?"
    expect_gradient(gradient, flows)
    message = "the gradient through softmax is not that of what it computes: is a part of it detached?"
    expect(any(near(gradient, slopes_of(x, dim, factor), 1e-3) for dim in (-1, 0)), message)  # dim: another's affair


def slopes_of(x: Tensor, dim: int, factor: Tensor) -> Tensor:
    """The gradient of the weighted sum of weights."""
    weights = weights_of(x, dim)
    return weights * (factor - (weights * factor).sum(dim, keepdim=True))


@check("softmax", points=6, title="together: the scores of a model")
def softmax_together(student, rng):
    x = normal(rng, 2, 3, 4, 5).float() * 3
    jobs = [(x, -1), (x[0, 0], 1), (x + 100, -1), (x[0], 0)]
    for (given, dim), answer in zip(jobs, weights_for_each(student, *jobs), strict=True):
        judge_together(answer, weights_of(given.double(), dim), "softmax of ordinary scores", KEEPS_SHAPE)


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 2: attention

NO_NUMBER = "the result is not a number: a softmax that is not stable, or a mask of finite numbers?"


NOT_THERE = ("Missing", "Unsolved", "LibraryCall")  # what a submission does not have, or may not use
LOST = ("TimeLimit", "MemoryLimit", "OutputLimit", "Died")  # nothing more can be found out in this check


@dataclass
class Manner:
    """How a solution's attention is asked where several ways are right or cost their points elsewhere.

    ``front`` dimensions of size 1 stand before each matrix, and where ``masked``, "no mask" is a mask of True alone.
    ``lent`` are the parts that it lacks, and why: "softmax", the "library"'s, which is refused, or its own "attention".
    """

    front: int = 1
    masked: bool = False
    lent: dict[str, StudentError] = field(default_factory=dict)

    def asks(self, job: tuple) -> tuple:
        Q, K, V, mask = job
        if mask is None and self.masked:
            mask = torch.ones(Q.shape[-2], K.shape[-2], dtype=torch.bool)
        front = (1,) * (self.front if Q.ndim == 2 else 0)
        return *(z.reshape(*front, *z.shape) for z in (Q, K, V)), None if mask is None else self.covers(mask, front)

    @staticmethod
    def covers(mask: Tensor, front: tuple[int, ...]) -> Tensor:
        return mask.reshape(*front, *mask.shape)

    def hears(self, answer: Any, job: tuple) -> Any:
        """The answer without the dimensions that were put in front."""
        front = self.front if job[0].ndim == 2 else 0
        fits = isinstance(answer, Tensor) and answer.ndim == front + 2 and answer.shape[:front] == (1,) * front
        return answer.reshape(answer.shape[front:]) if fits else answer


MANNERS: WeakKeyDictionary[Any, Manner] = WeakKeyDictionary()


def manner_of(student) -> Manner:
    """How this solution is asked: found out once. What it lacks is lent, since its own checks are over."""
    if student not in MANNERS:
        MANNERS[student] = find_manner(student)
    manner = MANNERS[student]
    lend(student, manner)
    return manner


def lend(student, manner: Manner) -> None:
    if manner.lent:
        ask(student, bool, drive_lend, list(manner.lent))


def find_manner(student) -> Manner:
    rng, manner = Random(2), Manner()  # no secret: only whether there is an answer counts
    x = normal(rng, 3, 4).float()
    error = problem_of(lambda: weights_for_each(student, (x, -1)))
    if error is not None and error.kind in NOT_THERE:
        manner.lent["softmax"] = error
        lend(student, manner)
    job = (x, normal(rng, 3, 4).float(), normal(rng, 3, 2).float(), None)
    problems = []
    for front in (1, 2, 0):
        for masked in (False, True):
            manner.front, manner.masked = front, masked
            error = problem_of(lambda: expect_shape(only(asked(student, manner, job)), (3, 2), ""))
            if error is not None and error.kind == "LibraryCall" and "library" not in manner.lent:
                manner.lent["library"] = error
                lend(student, manner)
                error = problem_of(lambda: expect_shape(only(asked(student, manner, job)), (3, 2), ""))
            if error is None:
                return manner
            problems.append(error)
    if problems[0].kind in NOT_THERE:
        manner.lent["attention"] = problems[0]
    manner.front, manner.masked = 1, False
    return manner


def problem_of(question: Callable[[], Any]) -> StudentError | None:
    """What a question raises; errors of the check's own, such as a wrong shape, as a `StudentError` too."""
    try:
        question()
    except StudentError as error:
        if error.kind in LOST:
            raise
        return error
    except Fail as error:
        return StudentError("Fail", str(error))
    return None


def asked(student, manner: Manner, *jobs: tuple, problems: dict[str, str] | None = None) -> list[Any]:
    form = list_of([anything, anything], len(jobs))
    given = [manner.asks(job) for job in jobs]
    try:
        answers = [answer for answer, _ in ask(student, form, drive_attention, given, problems=problems)]
    except Fail as problem:  # of what the attention does, if its softmax takes scores of any shape
        if isinstance(problem.__cause__, StudentError) and softmax_raises(student):
            raise problem.__cause__ from None
        raise
    expect(all(isinstance(answer, Tensor) for answer in answers), "scaled_dot_product_attention must return a tensor")
    return [manner.hears(answer, job) for answer, job in zip(answers, jobs, strict=True)]


def softmax_raises(student) -> bool:
    """Does the submission's softmax fail for scores of two or three dimensions, of which no two are equal?"""
    for shape in ((3, 5), (2, 3, 5)):
        try:
            ask_for(student, list_of([anything, anything], 1), drive_softmax, [(torch.ones(shape), -1)])
        except StudentError as error:
            return error.is_a(*ORDINARY)
    return False


def attended(student, *jobs: tuple, problems: dict[str, str] | None = None) -> list[Tensor]:
    """The results for each (Q, K, V, mask), asked in this solution's manner."""
    return asked(student, manner_of(student), *jobs, problems=problems)


@drawn
def growing_scores(rng) -> tuple[Tensor, ...]:
    """Q, K and V such that the scores of each query, in some order, are 0, 1, 2 and 3 times 1.2; and that order."""
    order = (torch.arange(4)[:, None] + torch.arange(4)) % 4
    order = order[rng.sample(range(4), 4)][:, rng.sample(range(4), 4)]
    K, V = (torch.linalg.qr(normal(rng, 4, 4))[0] for _ in range(2))
    return (1.2 * order.double() @ K).float(), K.float(), V.float(), order


@once
def weighs(student, rng) -> None:
    """Fail for what is no attention at all, before a side of it is judged.

    Equal steps of the scores must be equal factors of the weights. That holds for any scale, without the division by
    the sum, and over the queries too; it does not hold for means, for the greatest score alone, nor for other powers.
    """
    Q, K, V, order = growing_scores(rng)
    answer = only(attended(student, (Q, K, V, None)))
    if answer.shape == (4, 4) and answer.dtype.is_floating_point:
        weights = answer.double() @ V.double().mT
        factors = weights.gather(1, order.argsort(1)).log().diff(dim=1)
        if bool((factors > 0.05).all()) and near(factors, factors.mean().expand(4, 3), 0.03):
            return
    raise Fail("this is judged when the weights of a query are powers of e of its scores, on whatever scale")


def equal_scores(rng, q: int, k: int, d: int, *front: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries at random and keys of zeros: every score is 0 and the scale does not matter."""
    return normal(rng, *front, q, d).float(), torch.zeros(*front, k, d), normal(rng, *front, k, 3).float()


def mean_over(allowed: Tensor, V: Tensor) -> Tensor:
    """The mean of the allowed values; zeros where there are none."""
    allowed = allowed.to(V.dtype)
    return allowed @ V / allowed.sum(-1, keepdim=True).clamp(min=1)


@drawn
def scores_of_several_sizes(rng) -> list[tuple[Tensor, Tensor]]:
    return [(normal(rng, n, d).float(), torch.eye(n, n + 2)) for n, d in ((7, 4), (3, 9), (6, 16))]


@check("attention", points=1, title="scores are divided by the root of d")
def divides_by_the_root(student, rng):
    cases = scores_of_several_sizes(rng)
    root = "divide them by the square root of d, the size of a query"
    for (Q, V), answer in zip(cases, attended(student, *((Q, Q, V, None) for Q, V in cases)), strict=True):
        n, d = Q.shape
        expected = attend_to(Q, Q, V)
        wrong = [
            (lambda Q=Q, V=V: attend_to(Q, Q, V, scale=1.0), f"the scores are not scaled: {root}"),
            (lambda Q=Q, V=V, d=d: attend_to(Q, Q, V, scale=1 / d), f"the scores are divided by d itself: {root}"),
            (lambda Q=Q, V=V, d=d: attend_to(Q, Q, V, scale=d**0.5), f"the scores are multiplied by the root: {root}"),
            (
                lambda Q=Q, V=V, n=n: attend_to(Q, Q, V, scale=n**-0.5),
                f"the scores are divided by the root of the number of keys: {root}",
            ),
            (
                lambda Q=Q, V=V: attend_to(Q, Q, V, scale=V.shape[-1] ** -0.5),
                f"the scores are divided by the root of dv: {root}",
            ),
            (
                lambda Q=Q, V=V, d=d: Q @ Q.mT @ V * d**-0.5,
                "the scores are used without softmax: turn them into weights first",
            ),
            (
                lambda Q=Q, V=V: weights_of(Q @ Q.mT) @ V * Q.shape[-1] ** -0.5,
                f"the weights are scaled, not the scores: {root}",
            ),
        ]
        expect_shape(answer, expected.shape, "the result has the shape (..., q, dv)")
        if near(answer[:, :n].mT, expected[:, :n]):  # the softmax over the queries: another check's affair
            continue
        judge(answer, expected, "the weights are not softmax(Q K^T / sqrt(d)) over the keys", wrong)


@check("attention", points=1, title="the weights of a query add up to 1")
def weights_run_over_keys(student, rng):
    weighs(student, rng)
    Q, K, V = equal_scores(rng, 3, 5, 4, 2)
    message = "queries, keys and values may differ in number and size: Q (q, d), K (k, d), V (k, dv) give (q, dv)"
    answer = only(attended(student, (Q, K, V, None), problems={"RuntimeError": message}))
    expected = V.mean(-2, keepdim=True).expand(2, 3, 3)
    wrong = [
        (lambda: V.sum(-2, keepdim=True).expand(2, 3, 3) / 3, "softmax runs over the queries: take it over the keys"),
        (
            lambda: V.sum(-2, keepdim=True).expand(2, 3, 3) / 2,
            "softmax runs over the first dimension: take the keys, the last",
        ),
        (lambda: V.sum(-2, keepdim=True).expand(2, 3, 3), "the weights are not normalised: they must add up to 1"),
        (lambda: 0 * expected, "the scores are used without softmax: turn them into weights first"),
    ]
    judge(answer, expected, "equal scores must give the mean of the values: softmax runs over the keys", wrong)


@drawn
def pointers(rng) -> list[tuple[Tensor, ...]]:
    """Each query meets one key, so the result is a row of values whatever the scale: (Q, K, V, expected)."""
    cases = []
    for front_q, front_k, q, k, dv in [((), (), 5, 5, 4), ((2,), (2,), 4, 6, 3), ((2, 3), (2, 3), 5, 5, 7)]:
        cases.append(pointing(rng, front_q, front_k, q, k, dv))
    for front_q, front_k in [((2, 3), (3,)), ((4,), ()), ((2, 1), (1, 3)), ((2, 1, 2), (2, 3, 1))]:
        cases.append(pointing(rng, front_q, front_k, 4, 4, 3))
    return cases


def pointing(rng, front_q, front_k, q: int, k: int, dv: int) -> tuple[Tensor, ...]:
    chosen = torch.tensor(rng.sample(range(k), q))
    K = torch.eye(8)[rng.sample(range(8), k)] * 80**0.5  # e^80 is a float32, and e^-10, divided by d, next to nothing
    Q = K[chosen].expand(*front_q, q, 8).clone()
    V = torch.zeros(*front_k, k, dv)
    V[..., chosen, :] = normal(rng, *front_k, q, dv).float()
    front = torch.broadcast_shapes(front_q, front_k)
    return Q, K.expand(*front_k, k, 8).clone(), V, V[..., chosen, :].expand(*front, q, dv).clone()


@check("attention", points=0.5, title="as many keys as there are, values of any size")
def lengths_differ(student, rng):
    weighs(student, rng)
    cases = [case for case in pointers(rng) if case[0].ndim == 3][:1]
    message = "queries, keys and values may differ in number and size: Q (q, d), K (k, d), V (k, dv) give (q, dv)"
    answers = attended(student, *((*case[:3], None) for case in cases), problems={"RuntimeError": message})
    for case, answer in zip(cases, answers, strict=True):
        judge(answer, case[3], message, tolerance=2e-3)


FRONT = ["RuntimeError", "ValueError", "IndexError", "EinopsError", "AssertionError"]


@check("attention", points=0.5, title="the dimensions in front broadcast")
def broadcasts(student, rng):
    weighs(student, rng)
    cases = [
        case for case in pointers(rng) if case[0].ndim == case[1].ndim > 2 and case[3].shape[-2] == case[1].shape[-2]
    ]
    message = "the dimensions in front of (q, d), (k, d) and (k, dv) must broadcast: (2, 1) and (1, 3) give (2, 3)"
    problems = dict.fromkeys(FRONT, message)
    answers = attended(student, *((*case[:3], None) for case in cases), problems=problems)
    try:
        for case, answer in zip(cases, answers, strict=True):
            judge(answer, case[3], message, what=message, tolerance=2e-3)
    except Fail as problem:  # of the attention, if the softmax that it uses is right for as many dimensions
        x = torch.arange(120.0).reshape(2, 3, 4, 5).sin()
        ((weights, _),) = ask_for(student, list_of([anything, anything], 1), drive_softmax, [(x, -1)])
        if not near(weights, weights_of(x.double()), 1e-3):
            raise Fail("this is judged when softmax along the last of four dimensions is right") from problem
        raise


@check("attention", points=2, title="with nothing in front, or less than in the other")
def any_number_in_front(student, rng):
    weighs(student, rng)
    plain, *others = [case for case in pointers(rng) if case[0].ndim == 2 or case[0].ndim != case[1].ndim]
    manner = manner_of(student)
    bare = Manner(0, manner.masked)
    message = "a query matrix (q, d) with nothing in front fails: any number of dimensions may stand there, also none"
    (answer,) = asked(student, bare, (*plain[:3], None), problems=dict.fromkeys(FRONT, message))
    judge(answer, plain[3], message, what=message, tolerance=2e-3)
    message = "the dimensions in front must broadcast, also where K and V have fewer of them than Q"
    answers = asked(student, bare, *((*case[:3], None) for case in others), problems=dict.fromkeys(FRONT, message))
    for case, answer in zip(others, answers, strict=True):
        judge(answer, case[3], message, what=message, tolerance=2e-3)


@check("attention", points=2, title="without a mask")
def mask_may_be_left_out(student, rng):
    weighs(student, rng)
    job = growing_scores(rng)[:3]
    manner = manner_of(student)
    usual = only(attended(student, (*job, None)))
    Q, K, V, _ = manner.asks((*job, None))
    said = ask(student, [either(str, TENSOR)] * 2, drive_attention_with_none, Q, K, V)
    for answer, how in zip(said, ("without a mask", "with mask=None"), strict=True):
        expect(not isinstance(answer, str), f"a call {how} fails: None is the default of mask, and forbids no key")
        message = f"a call {how} gives another result than with a mask of True alone"
        expect(near(manner.hears(answer, (*job, None)), usual, 1e-3), message)


@drawn
def masked_values(rng) -> tuple[Tensor, ...]:
    return *equal_scores(rng, 7, 7, 4), regular_mask(rng, 7, 3)


def readings(mask: Tensor, V: Tensor) -> dict[str, Tensor]:
    """What equal scores give for each way to read a mask."""
    allowed = mask.to(V.dtype)
    k = mask.shape[-1]
    return {
        "right": mean_over(mask, V),
        "inverted": mean_over(~mask, V),
        "ignored": V.mean(-2).expand(mask.shape[-2], -1),
        "after": allowed @ V / k,
        "multiplied": weights_of(allowed) @ V,
    }


def reading(answer: Tensor, mask: Tensor, V: Tensor, tolerance: float = 1e-5) -> str:
    """The way in which a mask was read, "" for none that is known."""
    return next((name for name, made in readings(mask, V).items() if near(answer, made, tolerance)), "")


MASKED = {
    "inverted": "the mask is inverted: True means that a query may attend to the key",
    "ignored": "the mask has no effect: a score of 0 is not forbidden, -inf is",
    "after": "the mask comes after softmax, so the weights no longer add up to 1: put -inf into the scores",
    "multiplied": "the mask is used as a number: put -inf into the scores where it is False",
    "": "masked keys must get no weight, and the weights of the others must add up to 1",
}


@check("attention", points=1.5, title="True in the mask means: may attend")
def true_may_attend(student, rng):
    weighs(student, rng)
    Q, K, V, mask = masked_values(rng)
    answer = only(attended(student, (Q, K, V, mask)))
    expect_shape(answer, (7, 3), "the result has the shape (..., q, dv)")
    found = reading(answer, mask, V)
    if found != "right":
        raise Fail(MASKED[found])


@drawn
def padded_values(rng) -> tuple[Tensor, ...]:
    Q, K, V = equal_scores(rng, 3, 5, 4, 2, 3)
    padding = torch.arange(5) < torch.tensor(rng.sample(range(1, 5), 2))[:, None]
    pairs = torch.stack([torch.stack([torch.arange(5) < n for n in rng.sample(range(1, 6), 3)]) for _ in range(2)])
    return Q, K, V, padding[:, None, None], pairs[:, None], pairs[0]


@check("attention", points=0.5, title="the mask broadcasts")
def mask_broadcasts(student, rng):
    weighs(student, rng)
    Q, K, V, *masks = padded_values(rng)
    message = "the mask must broadcast to (..., q, k): (q, k), (batch, 1, q, k) and (batch, 1, 1, k) are all masks"
    attended(student, (Q, K, V, masks[0].expand(2, 3, 3, 5)))  # if this fails, it is not the broadcasting
    answers = attended(student, *((Q, K, V, mask) for mask in masks), problems=dict.fromkeys(FRONT, message))
    for mask, answer in zip(masks, answers, strict=True):
        full = mask.expand(2, 3, 3, 5)
        number = full.to(V.dtype)
        others = mean_over(~full, V), number @ V / 5, weights_of(number) @ V
        if not any(near(answer, other) for other in others):  # `true_may_attend` judges these
            judge(answer, mean_over(full, V), message)


@check("attention", points=0.5, title="what is masked never wins")
def masked_never_wins(student, rng):
    weighs(student, rng)
    Q, K, V, mask = masked_values(rng)
    low_Q, low_K = torch.full_like(Q, 122.0), torch.full_like(K, -122.0)
    usual, low = attended(student, (Q, K, V, mask), (low_Q, low_K, V, mask))
    expect(reading(usual, mask, V) != "", MASKED[""])
    expect(not bool(low.isnan().any()), "scores far below zero all vanish: softmax must subtract the greatest of a row")
    message = "a masked key wins where all allowed scores are far below zero: use -inf, not a number such as -1e4"
    expect(near(low, usual, 2e-2), message)


@check("attention", points=0.5, title="a mask in float16")
def mask_in_float16(student, rng):
    weighs(student, rng)
    Q, K, V, mask = masked_values(rng)
    if ask(student, bool, drive_float16):
        short = Q.half(), K.half(), V.half()
        try:
            attended(student, (*short, None))
            Q, K, V = short
        except StudentError:  # it fails without a mask as well: another check's affair
            pass
    attended(student, (Q.float(), K.float(), V.float(), mask))  # if this fails, it is not float16
    number = "float16 holds no number beyond 65504, so -1e9 does not fit: use -inf, and keep the dtype of the scores"
    answer = only(attended(student, (Q, K, V, mask), problems={"RuntimeError": number, "OverflowError": number}))
    expect_shape(answer, (7, 3), "the result has the shape (..., q, dv)")
    expect(not bool(answer.isnan().any()), f"NaN in float16 with a mask: {number}; 0 times infinity is NaN, too")
    expect(reading(answer.double(), mask, V.double(), 2e-2) != "", MASKED[""])


@drawn
def an_empty_row(rng) -> tuple[Any, ...]:
    Q, K, V = equal_scores(rng, 6, 6, 4)
    mask = regular_mask(rng, 6, 3)
    empty = rng.randrange(6)
    full = next(row for row in range(6) if torch.equal(mask[row], ~mask[empty]))  # so columns stay regular
    mask[empty], mask[full] = False, True
    return Q, K, V, mask, empty, full


@check("attention", points=1, title="a query that may attend to no key gets zeros")
def nothing_to_attend_to(student, rng):
    weighs(student, rng)
    Q, K, V, mask, empty, full = an_empty_row(rng)
    answer = only(attended(student, (Q, K, V, mask)))
    expect_shape(answer, (6, 3), "the result has the shape (..., q, dv)")
    others = [row for row in range(6) if row not in (empty, full)]
    found = reading(answer[others], mask[others], V)
    if found in ("", "ignored", "multiplied"):
        raise Fail(MASKED[found])
    row = answer[full if found == "inverted" else empty]
    message = "a query that may attend to no key must get zeros"
    expect(not bool(row.isnan().any()), f"{message}: softmax of nothing but -inf is 0/0, which is NaN")
    expect(
        not near(row, V.mean(0)), f"{message}, not the mean of all values: use -inf instead of a large negative number"
    )
    expect(near(row, torch.zeros(3)), message)


@check("attention", points=0.5, title="no NaN in the gradients of such a query")
def nothing_to_learn_from(student, rng):
    weighs(student, rng)
    Q, K, V, mask, *_ = an_empty_row(rng)
    factor = normal(rng, 6, 3).float()
    gradients = gradients_of(student, (Q, K, V), mask, factor)
    message = (
        "a query that may attend to no key puts NaN into the gradients: the NaN must not arise, in softmax or here"
    )
    expect(all(bool(g.isfinite().all()) for g in gradients if g is not None), message)
    expect_gradient(gradients[2], "no gradient reaches V")
    axes = torch.linalg.qr(normal(rng, 6, 6))[0].float()
    answer = only(attended(student, (Q, K, axes, mask)))
    expect_shape(answer, (6, 6), "the result has the shape (..., q, dv)")
    weights = answer @ axes.mT
    expect(not near(weights, torch.full((6, 6), 1 / 6), 1e-3), MASKED["ignored"])
    expect(near(gradients[2], weights.mT @ factor, 1e-3), "the gradient of V is not that of what is computed")


def gradients_of(student, inputs: tuple[Tensor, ...], mask: Tensor | None, factor: Tensor) -> list[Tensor | None]:
    """The gradients of Q, K and V, as they come."""
    manner = manner_of(student)
    *given, mask = manner.asks((*inputs, mask))
    form = either(type(None), [either(type(None), like(tensor, finite=False)) for tensor in given])
    factor = factor.reshape(*given[0].shape[:-2], *factor.shape)
    gradients = ask(student, form, drive_attention_gradients, *given, mask, factor)
    if gradients is None:
        raise Fail("no gradient flows through attention: is there a detach, .data, no_grad or numpy?")
    return [manner.hears(gradient, inputs) for gradient in gradients]


@check("attention", points=0.5, title="gradients flow")
def attention_gradients(student, rng):
    weighs(student, rng)
    inputs = normal(rng, 3, 4).float(), normal(rng, 3, 4).float(), normal(rng, 3, 2).float()
    factor = normal(rng, 3, 2).float()
    gradients = gradients_of(student, inputs, None, factor)
    for gradient, name in zip(gradients, "QKV", strict=True):
        expect_gradient(gradient, f"no gradient reaches {name}: is something detached?")
    steps = [1e-2 * normal(rng, *tensor.shape).float() for tensor in inputs]
    jobs = [
        (*(tensor + (sign * steps[at] if i == at else 0) for i, tensor in enumerate(inputs)), None)
        for at in range(3)
        for sign in (-1, 1)
    ]
    answers = attended(student, *jobs)
    for answer in answers:
        expect_shape(answer, (3, 2), "the result has the shape (..., q, dv)")
    sums = [float((answer.double() * factor).sum()) for answer in answers]
    for at, name in enumerate("QKV"):
        predicted = 2 * float((gradients[at].double() * steps[at]).sum())
        expect_slope(predicted, sums[2 * at + 1] - sums[2 * at], f"attention to {name}")


@check("attention", points=0.5, title="the dtype that came in")
def attention_keeps_the_dtype(student, rng):
    weighs(student, rng)
    Q, K, V = (tensor.double() for tensor in equal_scores(rng, 7, 7, 4))
    expected = V.mean(0).expand(7, 3)
    types = dtypes(student)
    message = "float64, bfloat16 or float16 fails though float32 works: are dtypes mixed? All must keep that of Q, K, V"
    answers = attended(
        student, *((*(z.to(t) for z in (Q, K, V)), None) for t in types), problems={"RuntimeError": message}
    )
    for dtype, answer in zip(types, answers, strict=True):
        name = str(dtype).removeprefix("torch.")
        expect_shape(answer, (7, 3), "the result has the shape (..., q, dv)")
        if answer.dtype != dtype:
            raise Fail(f"{name} goes in and another dtype comes out: return the dtype of the inputs")
        expect(near(answer, expected, 3e-2), "equal scores must give the mean of the values, in every dtype")
    message = "float64 comes back with the precision of float32: do not compute in float32 what comes in float64"
    expect(near(answers[1], expected, 1e-11), message)


@check("attention", points=0.5, title="what is given stays as it is")
def attention_changes_nothing(student, rng):
    weighs(student, rng)
    Q, K, V, mask = masked_values(rng)
    other = normal(rng, 7, 4).float(), normal(rng, 7, 4).float(), V, mask
    manner = manner_of(student)
    jobs = [manner.asks(job) for job in ((Q, K, V, mask), other, (*other[:3], None))]
    answers = ask(student, list_of([anything, [anything] * 4], 3), drive_attention, jobs)
    first = manner.hears(answers[0][0], (Q, K, V, mask))
    expect_shape(first, (7, 3), "the result has the shape (..., q, dv)")
    expect(reading(first, mask, V) != "", MASKED[""])
    for job, (_, after) in zip(jobs, answers, strict=True):
        for name, old, new in zip(("Q", "K", "V", "mask"), job, after, strict=True):
            message = f"{name} was changed: is an operation in place (*=, masked_fill_, logical_not_)?"
            expect(old is None or same(new, old), message)


@drawn
def ordinary_attention(rng) -> tuple[Tensor, ...]:
    """As a model with several heads asks: Q, K, V, the causal mask, and one of the keys of each sequence."""
    Q, K, V = (normal(rng, 2, 3, 6, 8).float() for _ in range(3))
    padding = torch.arange(6) < torch.tensor(rng.sample(range(2, 6), 2))[:, None]
    return Q, K, V, torch.ones(6, 6, dtype=torch.bool).tril(), padding[:, None, None].expand(2, 3, 6, 6)


@check("attention", points=8, title="together: attention of several heads")
def attention_together(student, rng):
    manner = manner_of(student)
    if "library" in manner.lent and "attention" not in manner.lent:
        raise manner.lent["library"]  # paid here, and once
    Q, K, V, *_ = ordinary_attention(rng)
    answer = only(attended(student, (Q, K, V, None)))
    judge_together(answer, attend_to(Q.double(), K.double(), V.double()), "attention to ordinary queries and keys")


@check("attention", points=4, title="together: with a mask")
def masked_attention_together(student, rng):
    Q, K, V, *masks = ordinary_attention(rng)
    masks = [masks[0].expand(2, 3, 6, 6).clone(), masks[1].clone()]
    for mask, answer in zip(masks, attended(student, *((Q, K, V, mask) for mask in masks)), strict=True):
        expected = attend_to(Q.double(), K.double(), V.double(), mask)
        judge_together(answer, expected, "attention with a causal mask, and with one for padding")


# ---------------------------------------------------------------------------------------------------------------------
# The module: asking

LINEAR = "q_proj, k_proj, v_proj and o_proj must each be an nn.Linear of the module"
OF_THE_MODULE = {
    "NoProjection": f"a projection cannot be found, by its name or by its shape: {LINEAR}",
    "WrongShape": (
        "a projection is missing, or has another shape than the interface says: q_proj num_heads * d_head outputs, k_proj and v_proj "
        "num_kv_heads * d_head, o_proj d_model, each weight (out_features, in_features)"
    ),
    "PositionsDoNotBroadcast": (
        "rope gets token positions that do not broadcast to x.shape[:-1]: (batch, seq) needs a dimension for the heads"
    ),
}
OUTPUT = "the output of the module has the shape of x"


def whole(tensor: Tensor) -> Tensor:
    return tensor


def last(tensor: Tensor) -> Tensor:
    """The last token, which may see all: whatever the causal mask, its output is the same."""
    return tensor[:, -1]


SIZES = list_of(int, least=0, most=64)
SAID = {
    "gradients": type(None),
    "made": list_of(int, least=0),
    "norms": int,
    "fused": bool,
    "attend": list_of([SIZES, SIZES, SIZES, either(type(None), str)], least=0),
    "norm": list_of(SIZES, least=0),
    "rope": list_of(TENSOR, least=0),
    "cache": list_of([TENSOR, TENSOR], least=0),
}


@dataclass
class Build:
    """How a solution's module is made and filled where several ways are right or cost their points elsewhere.

    ``without`` are the options that it does not know, ``by_head`` says how one weight holds queries, keys and values,
    ``short`` that it works in float32 alone, and ``refused`` what it raised when it called the library.
    """

    without: tuple[str, ...] = ()
    by_head: bool = False
    short: bool = False
    refused: StudentError | None = None


BUILDS: WeakKeyDictionary[Any, Build] = WeakKeyDictionary()


def build_of(student) -> Build:
    """How this solution's module is asked: found out once."""
    manner = manner_of(student)
    if student not in BUILDS:
        BUILDS[student] = find_build(student, manner)
    return BUILDS[student]


def find_build(student, manner: Manner) -> Build:
    rng, build = Random(3), Build()  # no secret: which of several right answers comes is what counts
    weights, x = weights_for(rng, 12, 3, 3, 4), normal(rng, 2, 5, 12)
    expected = module_of(x, weights, 3)

    def out() -> dict:
        return said_by(student, build, 12, 3, {"causal": False, "stand_ins": ["attend"]}, weights, [{"x": x}])

    for build.short in (False, True):
        for build.without in ((), ("attend",), ("causal",), ("attend", "causal")):
            error = problem_of(out)
            if error is not None and error.kind == "LibraryCall" and "library" not in manner.lent:
                build.refused = manner.lent["library"] = error
                lend(student, manner)
                error = problem_of(out)
            if error is None:
                said = out()
                right = like_any(said["out"][0], x, [lambda: expected], tolerance=1e-3)
                build.by_head = said["fused"] and not right
                return build
            if error.kind != "TypeError":
                break
        if error.kind != "RuntimeError":
            break
    return Build(refused=build.refused)


def outputs(student, d_model: int, heads: int, options: dict, weights: dict, calls: list[dict], problems=None) -> dict:
    """What `drive_module` says, with ``attend`` filled in unless ``stand_ins`` says otherwise.

    With "default" among them it is the student's own, if there is one.
    """
    build = build_of(student)
    asked_for = options.get("stand_ins", [])
    stand_ins = [name for name in asked_for if name != "default"]
    own = {"marked", "own", "default"} if "attention" not in manner_of(student).lent else {"marked", "own"}
    if not own & set(asked_for):
        stand_ins.append("attend")
    return said_by(student, build, d_model, heads, options | {"stand_ins": stand_ins}, weights, calls, problems)


def said_by(
    student, build: Build, d_model: int, heads: int, options: dict, weights: dict, calls: list[dict], problems=None
) -> dict:
    options = {name: value for name, value in options.items() if name not in build.without}
    options["stand_ins"] = [name for name in options["stand_ins"] if name not in build.without]
    options |= {"by_head": build.by_head, "short": build.short}
    problems = OF_THE_MODULE | (problems or {})
    form = SAID | {"out": list_of(anything, len(calls)), "after": list_of(anything, len(calls))}
    if "factor" in options:
        slopes = [either(type(None), like(tensor, finite=False)) for tensor in (calls[0]["x"], *weights.values())]
        form |= {"after": [], "gradients": either(type(None), slopes)}
    said = ask(student, form, drive_module, d_model, heads, options, weights, calls, problems=problems)
    expect(all(isinstance(out, Tensor) for out in said["out"]), "forward must return a tensor")
    return said


@drawn
def flat_head(rng, n: int) -> tuple[Any, ...]:
    """`one_head` with small scores, so that every key has its share."""
    weights, x = one_head(rng, n)
    return weights | {name: weights[name] / 4 for name in ("q_proj.weight", "k_proj.weight")}, x


ALONE = "this is judged when a module with one head attends: project, attend, project"


@once
def attends_alone(student, rng) -> None:
    """Fail for a module that does not attend at all, before a side of it is judged: the last token, with one head."""
    weights, x = flat_head(rng, 5)
    out = only(uncaused(student, 4, 1, {}, weights, [{"x": x}])["out"])
    expect(like_any(out, x, attended_anyhow(x, weights), tolerance=1e-3), ALONE)


def uncaused(student, d_model: int, heads: int, options: dict, weights: dict, calls: list[dict]) -> dict:
    """`outputs` with causal=False, or if that fails without, for the last token."""
    try:
        return outputs(student, d_model, heads, options | {"causal": False}, weights, calls)
    except StudentError:
        return outputs(student, d_model, heads, options, weights, calls)


def attended_anyhow(x: Tensor, weights: dict, **rest: Any) -> list[Callable[[], Tensor]]:
    """The output with one head; and if the module calls its own attention, which may have its own mistakes."""
    return [lambda scale=scale: module_of(x, weights, 1, scale=scale, **rest) for scale in (None, 1.0, 1 / x.shape[-1])]


def like_any(out: Tensor, x: Tensor, makes: Iterable[Callable], at: Callable = last, tolerance: float = 1e-5) -> bool:
    """Whether the output is one of these, or one of these added to x: `each_head_by_itself` judges that."""
    return any(is_like(one, at, out, tolerance) for make in makes for one in (make, lambda make=make: make() + x))


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 7: multi_head


@check("multi_head", points=3, title="four projections, registered")
def has_its_parameters(student, rng):
    d_model, heads, d_head = rng.choice([(12, 3, 4), (10, 5, 2), (12, 2, 6)])
    wide = rng.choice([7, 9])
    sizes = {"q_proj": (heads * d_head, d_model), "k_proj": (heads * d_head, d_model)}
    sizes |= {"v_proj": (heads * d_head, d_model), "o_proj": (d_model, heads * d_head)}
    for options, d in (({}, d_head), ({"d_head": wide}, wide), ({"bias": True}, d_head)):
        parameters = list_of([str, SIZES, bool], least=0)
        said = ask(
            student, [either(type(None), parameters), list_of(str, least=0)], drive_parameters, d_model, heads, options
        )
        expect(
            said[0] is not None, "MultiHeadAttention must be an nn.Module: derive from it and call super().__init__()"
        )
        found = {name: tuple(shape) for name, shape, _ in said[0]}
        expect(len(found) > 0, "the module has no parameters: assign each projection as an attribute of its own")
        for name in sizes:
            if not any(other.startswith(name) for other in found):
                raise Fail(f"{name} is missing among the registered parameters: {LINEAR}")
            expect(f"{name}.weight" in found, f"{name} must be an nn.Linear: its weight is called {name}.weight")
            shape = (heads * d, d_model) if name != "o_proj" else (d_model, heads * d)
            expect(
                found[f"{name}.weight"] != shape[::-1] or shape == shape[::-1],
                "a weight is (out_features, in_features)",
            )
            what = (
                "with d_head given, the heads are num_heads * d_head wide together" if "d_head" in options else LINEAR
            )
            expect(found[f"{name}.weight"] == shape, f"the weight of {name} has the wrong shape: {what}")
            has_bias = f"{name}.bias" in found
            expect(has_bias or "bias" not in options, f"bias=True: {name} has no bias")
            expect(not has_bias or "bias" in options, f"{name} has a bias: there is none unless bias=True")
        expect(
            len(found) == (8 if "bias" in options else 4), "there are parameters beside those of the four projections"
        )
        expect(all(trained for _, _, trained in said[0]), "a parameter does not ask for gradients")
        expect(set(found) <= set(said[1]), "a parameter is missing in the state_dict")


@check("multi_head", points=0.5, title="sizes that do not fit are refused")
def refuses_bad_sizes(student, rng):
    attends_alone(student, rng)
    d_head = rng.choice([2, 3, 4])
    good = [(4 * d_head, 4, {}), (4 * d_head, 4, {"num_kv_heads": 2})]
    bad = [
        (4 * d_head, 4, {"num_kv_heads": 3}, "num_heads must be a multiple of num_kv_heads"),
        (4 * d_head, 4, {"num_kv_heads": 8}, "num_heads must be a multiple of num_kv_heads"),
        (4 * d_head + 1, 4, {}, "d_model must be a multiple of num_heads where no d_head is given"),
        (2, 4, {}, "d_model must be a multiple of num_heads where no d_head is given"),
    ]
    answers = ask(student, list_of(str, 6), drive_sizes, [*good, *(job[:3] for job in bad)])
    raises = "with num_kv_heads the module cannot be made: it raises, and no ValueError"
    expect(answers[0] != "made" or answers[1] != "raised", raises)
    expect(answers[:2] == ["made", "made"], "sizes that fit are refused")
    for (*_, message), answer in zip(bad, answers[2:], strict=True):
        expect(answer != "made", f"sizes that do not fit are taken: {message}, else ValueError")
        expect(answer == "ValueError", f"sizes that do not fit must raise ValueError, not another exception: {message}")


@drawn
def plain_module(rng) -> tuple[Any, ...]:
    heads, d_head = 3, 4
    weights = weights_for(rng, 12, heads, heads, d_head)
    x = normal(rng, 2, 6, 12)
    return weights, x, module_of(x, weights, heads)


def of_heads(x: Tensor, weights: dict, heads: int, **rest: Any) -> list[tuple[Callable[[], Tensor], str]]:
    """Misconceptions about heads, with their messages."""

    def other(**part: Any) -> Callable[[], Tensor]:
        return lambda: module_of(x, weights, heads, **(rest | part))

    split = (
        "the heads are cut out by a view alone, which mixes tokens with heads: (batch, seq, head * d_head) becomes "
        "(batch, seq, head, d_head), then the dimensions change places"
    )
    join = "the heads are joined by a view alone, which mixes tokens with heads: transpose back first"
    order = "head h must own the features from h * d_head on: the features are dealt out in turn"
    d_model = x.shape[-1]
    root = "the scores are divided by the root of d_model: what counts is the size of one head"
    return [
        (other(split=split_by_view), split),
        (other(split=split_by_view, join=join_by_view), split),
        (other(join=join_by_view), join),
        (other(split=split_interleaved, join=join_interleaved), order),
        (other(split=split_interleaved), order),
        (other(join=join_interleaved), order),
        (other(scale=d_model**-0.5), root),
        (other(scale=1.0), "the scores are not scaled: divide them by the root of d_head"),
        (other(transposed=True), "the weights are used the wrong way round: a projection is x @ weight.T"),
        (other(project=False), "o_proj is not used: the joined heads are projected once more"),
    ]


def forgiven(answer: Any, expected: Tensor, x: Tensor, weights: dict, heads: int, **rest: Any) -> bool:
    """Whether the last token is wrong in nothing but what `each_head_by_itself` judges."""
    if is_like(lambda: expected, last, answer):
        return False
    return any(is_like(make, last, answer) for make, _ in of_heads(x, weights, heads, **rest))


HEAD_BY_HEAD = "the output is not that of the heads, one after the other: project, split, attend, join, project"


@check("multi_head", points=2.5, title="each head attends by itself")
def each_head_by_itself(student, rng):
    weights, x, expected = plain_module(rng)
    said = outputs(student, 12, 3, {"causal": False}, weights, [{"x": x}])
    wrong = of_heads(x, weights, 3)
    judge(said["out"][0], expected, HEAD_BY_HEAD, wrong, what=OUTPUT, at=last)


@drawn
def wide_module(rng) -> tuple[Any, ...]:
    weights = weights_for(rng, 8, 3, 3, 5, bias=True)
    x = normal(rng, 2, 4, 8)
    return weights, x, module_of(x, weights, 3)


@check("multi_head", points=1, title="d_head and bias")
def wide_heads(student, rng):
    weights, x, expected = wide_module(rng)
    said = outputs(student, 8, 3, {"causal": False, "d_head": 5, "bias": True}, weights, [{"x": x}])
    without = {name: value for name, value in weights.items() if "bias" not in name}
    wrong = [
        (lambda: module_of(x, without, 3), "the biases are not used"),
        (
            lambda: module_of(x, weights, 3, scale=8**-0.5),
            "the scores are divided by the root of d_model, not of d_head",
        ),
        *of_heads(x, weights, 3),
    ]
    judge(said["out"][0], expected, f"with d_head and biases: {HEAD_BY_HEAD}", wrong, what=OUTPUT, at=last)


@check("multi_head", points=2, title="attend is a slot")
def attend_is_a_slot(student, rng):
    attends_alone(student, rng)
    weights, x, _ = plain_module(rng)
    single, z = flat_head(rng, 5)
    options = {"causal": False}
    marks = [1 + rng.random(), 1 + rng.random()]
    marked = outputs(student, 4, 1, options | {"stand_ins": ["marked"], "marks": marks}, single, [{"x": z}])
    attend = [*marked["attend"], *outputs(student, 12, 3, {}, weights, [{"x": x}])["attend"]]
    never = "the attend that is given is never called: it takes the place of your own attention"
    expect(len(attend) > 0, never)
    out, expected = marked["out"][0], module_of(z, single, 1)
    expect_shape(out, z.shape, OUTPUT)
    expect(not like_any(out, z, [lambda: expected]), "what the given attend returns is not used")
    changed = "what the given attend returns is changed"
    expect(like_any(out, z, [lambda: marks[0] * expected + marks[1]]), changed)
    expect(len(attend) == 2, "attend must be called once, with all heads together")
    q, k, v, _ = attend[1]
    shape = "attend gets Q, K and V of the shape (batch, num_heads, seq, d_head)"
    expect(q == [2, 3, 6, 4] and k == q and v == q, shape)
    kinds = {kind for *_, kind in attend}
    expect(kinds <= {None, "torch.bool"}, "attend must get a boolean mask (True = may attend), or None")
    try:
        own = outputs(student, 12, 3, options | {"stand_ins": ["own"]}, weights, [{"x": x}])["out"][0]
    except StudentError:  # another exercise
        return
    default = outputs(student, 12, 3, options | {"stand_ins": ["default"]}, weights, [{"x": x}])["out"][0]
    expect_shape(default, x.shape, OUTPUT)
    expect(
        near(default, own) or bool(own.isnan().any()), "without attend the module must use scaled_dot_product_attention"
    )


@drawn
def normed_module(rng) -> tuple[Any, ...]:
    weights = weights_for(rng, 12, 3, 3, 4)
    x = normal(rng, 2, 5, 12) * 2
    return weights, x, module_of(x, weights, 3, prepare=lambda q, k, v: (normed(q), normed(k), v))


@check("multi_head", points=1.5, title="qk_norm: one for queries, one for keys")
def normalises_queries_and_keys(student, rng):
    weights, x, expected = normed_module(rng)
    said = outputs(student, 12, 3, {"causal": False, "stand_ins": ["qk_norm"]}, weights, [{"x": x}])
    expect(len(said["made"]) > 0, "qk_norm is not used: it is a factory, qk_norm(d_head) makes a normalisation")
    expect(
        len(said["made"]) != 1,
        "qk_norm is called once: make two, one for queries and one for keys, for each learns its own weights",
    )
    expect(set(said["made"]) == {4}, "qk_norm must be made for d_head features, since it works head by head")
    expect(len(said["made"]) == 2, "qk_norm must be called twice, once for queries and once for keys")
    expect(said["norms"] == 2, "the parameters of the two normalisations must be registered in the module")

    def flat(z: Tensor) -> Tensor:
        return split_right(normed(join_right(z)), 3)

    wrong = [
        (lambda: module_of(x, weights, 3), "queries and keys are not normalised: qk_norm has no effect"),
        (lambda: module_of(x, weights, 3, prepare=lambda q, k, v: (normed(q), k, v)), "the keys are not normalised"),
        (lambda: module_of(x, weights, 3, prepare=lambda q, k, v: (q, normed(k), v)), "the queries are not normalised"),
        (
            lambda: module_of(x, weights, 3, prepare=lambda q, k, v: (normed(q), normed(k), normed(v))),
            "the values are normalised too: only queries and keys are",
        ),
        (
            lambda: module_of(x, weights, 3, prepare=lambda q, k, v: (flat(q), flat(k), v)),
            "all heads are normalised together: qk_norm works on each head by itself, after the split",
        ),
        *of_heads(x, weights, 3, prepare=lambda q, k, v: (normed(q), normed(k), v)),
    ]
    judge(said["out"][0], expected, "queries and keys are not normalised head by head", wrong, what=OUTPUT, at=last)
    turned_too = outputs(student, 12, 3, {"causal": False, "stand_ins": ["qk_norm", "rope"]}, weights, [{"x": x}])
    after = module_of(x, weights, 3, prepare=lambda q, k, v: (normed(turn_now(q)), normed(turn_now(k)), v))
    expect(not near(last(turned_too["out"][0]), last(after)), "qk_norm comes after rope: normalise first, then turn")


def turn_now(heads: Tensor) -> Tensor:
    return turned(heads, torch.arange(heads.shape[2]))


@check("multi_head", points=1, title="gradients reach everything")
def module_gradients(student, rng):
    weights, x = flat_head(rng, 3)
    factor = torch.zeros_like(x)
    factor[:, -1] = normal(rng, 2, 4)  # the last token, whatever the mask
    options = {"causal": False}
    said = outputs(student, 4, 1, options | {"factor": factor}, weights, [{"x": x}])
    expect(like_any(said["out"][0], x, attended_anyhow(x, weights), tolerance=1e-3), ALONE)
    gradients = said["gradients"]
    expect(gradients is not None, "no gradient flows through the module: is there a detach, .data, no_grad or numpy?")
    expect_gradient(gradients[0], "no gradient reaches x: is there a detach, .data, no_grad or numpy?")
    for gradient in gradients[1:]:
        expect_gradient(gradient, "a parameter gets no gradient: it is not used, or something is detached")
    steps = [1e-3 * normal(rng, *tensor.shape) for tensor in (x, *weights.values())]
    calls = []
    for sign in (-1, 1):
        weights_there = {name: w + sign * step for (name, w), step in zip(weights.items(), steps[1:], strict=True)}
        calls += [{"x": x + sign * steps[0], "weights": weights}, {"x": x, "weights": weights_there}]
    sums = []
    for out in outputs(student, 4, 1, options, weights, calls)["out"]:
        expect_shape(out, x.shape, OUTPUT)
        sums.append(float((out.detach().double() * factor).sum()))
    along = [2 * float((g.double() * step).sum()) for g, step in zip(gradients, steps, strict=True)]
    expect_slope(along[0], sums[2] - sums[0], "the module")
    expect_slope(sum(along[1:]), sums[3] - sums[1], "the module")


@check("multi_head", points=1, title="the dtype that came in, and x as it was")
def module_keeps_the_dtype(student, rng):
    weights, x, _ = plain_module(rng)
    said = outputs(student, 12, 3, {"causal": False}, weights, [{"x": x}])
    expect_shape(said["out"][0], x.shape, OUTPUT)
    expect(same(said["after"][0], x), "x was changed: is an operation in place?")
    weights, x = flat_head(rng, 4)
    message = "in a module that was converted to another dtype, dtypes are mixed: make new tensors in the dtype of x"
    tolerances = {"float64": 1e-5, "float32": 1e-3, "bfloat16": 0.1}
    calls = [{"x": x, "dtype": name} for name in tolerances]
    answers = outputs(student, 4, 1, {"causal": False}, weights, calls, {"RuntimeError": message})["out"]
    for (name, tolerance), answer in zip(tolerances.items(), answers, strict=True):
        expect_shape(answer, x.shape, OUTPUT)
        if answer.dtype != getattr(torch, name):
            raise Fail(f"{name} goes in and another dtype comes out: return the dtype of x")
        right = like_any(answer, x, attended_anyhow(x, weights), tolerance=tolerance)
        expect(right, f"with one head and in {name}, the output is not that of project, attend, project")


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 3: grouped


@check("grouped", points=1.5, title="fewer projections for keys and values")
def fewer_projections(student, rng):
    attends_alone(student, rng)
    message = "k_proj and v_proj must have num_kv_heads * d_head outputs each: sharing saves parameters and cache"
    for kv_heads in (1, 2, 3):
        weights, x, expected = shared_heads(rng, kv_heads, 1)
        problems = {"WrongShape": message}
        said = outputs(student, 12, 6, {"causal": False, "num_kv_heads": kv_heads}, weights, [{"x": x}], problems)
        expect_shape(said["out"][0], x.shape, OUTPUT)
        makes = [lambda y=expected: y, *(make for make, _ in of_heads(x, weights, 6, kv_heads=kv_heads))]
        if kv_heads == 1:  # with more, who shares with whom is the next check's affair
            message = "with one token the output is its value, projected"
            expect(like_any(said["out"][0], x, makes), message)


@drawn
def shared_heads(rng, kv_heads: int, seq: int) -> tuple[Any, ...]:
    """With one token the split into heads does not matter, nor what is done to the scores."""
    weights = weights_for(rng, 12, 6, kv_heads, 2)
    weights |= {"q_proj.weight": symmetric(rng, 12) / 4, "o_proj.weight": torch.eye(12, dtype=torch.float64)}
    x = normal(rng, 2, seq, 12)
    return weights, x, module_of(x, weights, 6, kv_heads)


@check("grouped", points=2, title="neighbours share a head of keys and values")
def neighbours_share(student, rng):
    attends_alone(student, rng)
    tiled = (
        "query heads share keys and values in turn (a b a b): neighbours share (a a b b), so repeat each head, not all"
    )
    for kv_heads in (2, 3):
        weights, x, expected = shared_heads(rng, kv_heads, 1)
        said = outputs(student, 12, 6, {"causal": False, "num_kv_heads": kv_heads}, weights, [{"x": x}])
        wrong = [
            (lambda w=weights, x=x, n=kv_heads: module_of(x, w, 6, n, share=lambda h, group, kv: h % kv), tiled),
            (
                lambda w=weights, x=x, n=kv_heads: module_of(x, w, 6, n, share=lambda h, group, kv: 0),
                "all query heads use the first head of keys and values",
            ),
            *of_heads(x, weights, 6, kv_heads=kv_heads),
        ]
        message = "query head h must use head h // (num_heads // num_kv_heads) of keys and values"
        judge(said["out"][0], expected, message, wrong, what=OUTPUT)


@check("grouped", points=1, title="one head for all: MQA")
def one_for_all(student, rng):
    weights, x, expected = shared_heads(rng, 1, 5)
    said = outputs(student, 12, 6, {"causal": False, "num_kv_heads": 1}, weights, [{"x": x}])
    if forgiven(said["out"][0], expected, x, weights, 6, kv_heads=1):
        return
    message = "with num_kv_heads=1 all query heads use the same keys and values"
    judge(said["out"][0], expected, message, what=OUTPUT, at=last)


@check("grouped", points=0.5, title="attend gets keys and values of all heads")
def repeated_for_attend(student, rng):
    attends_alone(student, rng)
    weights, x, _ = shared_heads(rng, 2, 5)
    said = outputs(student, 12, 6, {"causal": False, "num_kv_heads": 2}, weights, [{"x": x}])
    expect(len(said["attend"]) == 1, "attend must be called once, with all heads together")
    q, k, v, _ = said["attend"][0]
    expect(q == [2, 6, 5, 2] and k == q and v == q, "attend must get keys and values repeated to num_heads")


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 4: masks. One head, so that the split does not matter; d_head is d_model.


@drawn
def one_head(rng, n: int = 6) -> tuple[Any, ...]:
    """Weights that are the same transposed, with the identity for o_proj; and x."""
    weights = {f"{name}_proj.weight": symmetric(rng, 4) for name in "qkv"}
    return weights | {"o_proj.weight": torch.eye(4, dtype=torch.float64)}, normal(rng, 2, n, 4)


def seen_by(x: Tensor, weights: dict, allowed: Tensor | None, **rest: Any) -> Tensor:
    return module_of(x, weights, 1, allowed=None if allowed is None else allowed[None, None], **rest)


def masks_of(n: int) -> tuple[Tensor, ...]:
    """The causal mask, and what is taken for it."""
    ones = torch.ones(n, n, dtype=torch.bool)
    return ones.tril(), ones.tril(1), ones.tril(-1), ones, ones.triu(1), ones.triu()


def mask_taken(student, x: Tensor, weights: dict) -> Tensor:
    """The causal mask that a solution uses, right or wrong: `nobody_sees_the_future` judges it."""
    out = outputs(student, 4, 1, {}, weights, [{"x": x}])["out"][0]
    candidates = masks_of(x.shape[1])
    return next((mask for mask in candidates if near(out, seen_by(x, weights, mask))), candidates[0])


@check("masks", points=2.5, title="nobody sees what comes later")
def nobody_sees_the_future(student, rng):
    weights, x = one_head(rng)
    said = outputs(student, 4, 1, {}, weights, [{"x": x}])
    n = x.shape[1]
    causal, *others = masks_of(n)
    messages = [
        "a token sees the one after it: the causal mask is off by one",
        "a token does not see itself: the causal mask is off by one",
        "every token sees those after it: causal=True is the default",
        "the causal mask is inverted: a token sees only what comes after it",
        "the causal mask is transposed: a token sees itself and what comes after it",
    ]
    wrong = [
        (lambda mask=mask: seen_by(x, weights, mask), message) for mask, message in zip(others, messages, strict=True)
    ]
    judge(
        said["out"][0],
        seen_by(x, weights, causal),
        "a token must attend to itself and to what comes before it",
        wrong,
        what=OUTPUT,
    )


@check("masks", points=0.5, title="causal=False: everybody sees everybody")
def everybody_sees_everybody(student, rng):
    weights, x = one_head(rng)
    expect("causal" not in build_of(student).without, "the keyword argument causal is not accepted")
    said = outputs(student, 4, 1, {"causal": False}, weights, [{"x": x}])
    wrong = [
        (lambda: seen_by(x, weights, causal_of(x.shape[1])), "causal=False is ignored: there must be no causal mask")
    ]
    judge(said["out"][0], seen_by(x, weights, None), "with causal=False every token attends to all", wrong, what=OUTPUT)


@drawn
def masked_module(rng) -> tuple[Any, ...]:
    weights, x = one_head(rng)
    n = x.shape[1]
    given = torch.ones(n, n, dtype=torch.bool)
    for row in range(1, n):
        given[row, rng.sample(range(row + 1), 1)] = False
        given[row, rng.choice([row, 0])] = True
    given[n - 1, :] = torch.tensor([i % 2 == 1 for i in range(n)])
    return weights, x, given


@check("masks", points=1, title="both masks must allow it")
def both_must_allow(student, rng):
    weights, x, given = masked_module(rng)
    causal = mask_taken(student, x, weights)
    alone = outputs(student, 4, 1, {"causal": False}, weights, [{"x": x, "mask": given}])["out"][0]
    both = outputs(student, 4, 1, {}, weights, [{"x": x, "mask": given}])["out"][0]
    inverted = "the mask is inverted: True means that a query may attend to the key"
    wrong = [
        (lambda: seen_by(x, weights, ~given), inverted),
        (lambda: seen_by(x, weights, None), "the mask that is given has no effect"),
    ]
    expect_shape(alone, x.shape, OUTPUT)
    if not near(alone, seen_by(x, weights, given & causal)):  # causal=False ignored: another check's affair
        judge(alone, seen_by(x, weights, given), "the mask that is given is not followed", wrong, what=OUTPUT)
    wrong = [
        (lambda: seen_by(x, weights, given), "the mask that is given replaces the causal mask: both must allow a key"),
        (
            lambda: seen_by(x, weights, causal),
            "the mask that is given has no effect when causal: both must allow a key",
        ),
        (
            lambda: seen_by(x, weights, causal | given),
            "the masks are combined by or: both must allow a key, so it is and",
        ),
        (lambda: seen_by(x, weights, ~given & causal), inverted),
    ]
    judge(both, seen_by(x, weights, given & causal), "the two masks are not combined by and", wrong, what=OUTPUT)


@drawn
def broadcast_masks(rng) -> tuple[Any, ...]:
    """Two heads that have the same weights, so that they differ by the mask only."""
    single = weights_for(rng, 4, 1, 1, 4)
    weights = {name: torch.cat([w, w], 1 if name[0] == "o" else 0) for name, w in single.items()}
    x = normal(rng, 2, 4, 4)
    lengths = torch.tensor(rng.sample(range(1, 4), 2))
    padding = (torch.arange(4) < lengths[:, None])[:, None, None]
    by_head = torch.stack([torch.eye(4).bool() | (torch.arange(4) == i) for i in rng.sample(range(4), 2)])[None]
    full = padding & by_head | torch.eye(4).bool()
    return weights, x, [padding, by_head, full]


@check("masks", points=0.5, title="a mask for the batch, for each head, or both")
def masks_broadcast(student, rng):
    weights, x, masks = broadcast_masks(rng)
    message = "mask must broadcast to (batch, num_heads, q, k): (batch, 1, 1, k) and (1, num_heads, q, k) are masks too"
    problems = dict.fromkeys(["RuntimeError", "ValueError", "IndexError", "EinopsError"], message)
    calls = [{"x": x, "mask": mask} for mask in masks]
    options = {"causal": False, "d_head": 4}
    outputs(student, 4, 2, options, weights, [{"x": x, "mask": masks[2]}])  # if this fails, it is not the broadcasting
    said = outputs(student, 4, 2, options, weights, calls, problems)
    for mask, out in zip(masks, said["out"], strict=True):
        allowed = mask.expand(2, 2, 4, 4)
        expected = module_of(x, weights, 2, allowed=allowed)
        if forgiven(out, expected, x, weights, 2, allowed=allowed):
            continue
        wrong = [(lambda allowed=allowed: module_of(x, weights, 2, allowed=~allowed), "the mask is inverted")]
        judge(out, expected, message, wrong, what=OUTPUT, at=last)


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 5: cross


@drawn
def two_sequences(rng) -> tuple[Any, ...]:
    weights, x = one_head(rng, 4)
    return weights, x, normal(rng, 2, 7, 4), normal(rng, 2, 3, 4)


@check("cross", points=1, title="padding_mask")
def masks_the_padding(student, rng):
    k = rng.choice([5, 6, 7])
    lengths = torch.tensor([*rng.sample(range(1, k), 3), k, 0])
    mask = ask(student, TENSOR, drive_padding_mask, lengths, k)
    right = (torch.arange(k) < lengths[:, None])[:, None, None]
    expect(mask.dtype == torch.bool, "padding_mask must give booleans: True = may attend")
    expect(mask.shape == right.shape, "padding_mask must give the shape (batch, 1, 1, k)")
    expect(not torch.equal(mask, ~right), "padding_mask is inverted: True for the first lengths[b] keys")
    one_more = (torch.arange(k) <= lengths[:, None])[:, None, None]
    expect(not torch.equal(mask, one_more), "padding_mask lets one key too many through: it begins to count at 0")
    expect(torch.equal(mask, right), "padding_mask must be True for the first lengths[b] keys, and for no others")


LENGTH_OF_X = "the output has the length of x, not of the context"


@check("cross", points=1, title="keys and values come from the context")
def reads_the_context(student, rng):
    attends_alone(student, rng)
    weights, x, long, short = two_sequences(rng)
    message = "with a context, queries come from x, and keys and values from the context"
    even = long[:, :4]
    uncaused(student, 4, 1, {}, weights, [{"x": x, "context": even}])  # if this fails, it is neither length nor mask
    for causal in (False, True):
        options = {} if causal else {"causal": False}
        for context in (even, long, short):
            problem = "the causal mask is applied to a context" if causal else f"{message}, of another length than x"
            problems = dict.fromkeys(["RuntimeError", "ValueError", "IndexError"], problem)
            said = outputs(student, 4, 1, options, weights, [{"x": x, "context": context}], problems)
            k = context.shape[1]
            from_the_left = torch.arange(k) <= torch.arange(4)[:, None]
            from_the_right = torch.arange(k) - k <= torch.arange(4)[:, None] - 4
            causal_too = "the causal mask is applied to a context"
            wrong = [
                (lambda: module_of(x, weights, 1), "the context is not used"),
                (lambda: seen_by(x, weights, causal_of(4)), "the context is not used"),
                (lambda z=context, c=from_the_left: seen_by(x, weights, c, context=z), causal_too),
                (lambda z=context, c=from_the_right: seen_by(x, weights, c, context=z), causal_too),
            ]
            expected = module_of(x, weights, 1, context=context)
            judge(said["out"][0], expected, message, wrong, what=LENGTH_OF_X)


@check("cross", points=0.5, title="with a context: no rope and no cache, but qk_norm")
def context_without_positions(student, rng):
    attends_alone(student, rng)
    weights, x, context, _ = two_sequences(rng)
    calls = [{"x": x, "context": context}]
    uncaused(student, 4, 1, {}, weights, calls)  # if this fails, it is neither rope nor qk_norm
    said = uncaused(student, 4, 1, {"stand_ins": ["rope"]}, weights, calls)

    def turn(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        return turn_now(q), turn_now(k), v

    expected = module_of(x, weights, 1, context=context)
    wrong = [
        (
            lambda: module_of(x, weights, 1, context=context, prepare=turn),
            "rope is applied although there is a context: positions in two sequences cannot be compared",
        ),
        (
            lambda: module_of(x, weights, 1, context=context, prepare=lambda q, k, v: (turn_now(q), k, v)),
            "rope turns the queries although there is a context",
        ),
        (lambda: module_of(x, weights, 1), "the context is not used"),
        (lambda: module_of(x, weights, 1, prepare=turn), "the context is not used"),
    ]
    judge(said["out"][0], expected, "with a context rope does not apply", wrong, what=LENGTH_OF_X)
    cached = uncaused(student, 4, 1, {}, weights, [{"x": x, "context": context, "cache": True}])
    expect(cached["cache"] == [], "with a context nothing goes into the cache: it keeps what stands before x")
    normed_too = uncaused(student, 4, 1, {"stand_ins": ["qk_norm"]}, weights, calls)["out"][0]
    right = module_of(x, weights, 1, context=context, prepare=lambda q, k, v: (normed(q), normed(k), v))
    nothing = "with a context queries and keys are not normalised: qk_norm applies there, too"
    expect_shape(normed_too, x.shape, LENGTH_OF_X)
    expect(near(normed_too, right) or not near(normed_too, expected), nothing)  # other mistakes: other checks' affair


@check("cross", points=0.5, title="with a context: the mask that is given")
def context_with_a_mask(student, rng):
    attends_alone(student, rng)
    weights, x, context, _ = two_sequences(rng)
    allowed = (torch.arange(7) < torch.tensor([4, 4])[:, None])[:, None, None]
    full = allowed.expand(2, 1, 4, 7)
    for options in ({"causal": False}, {}):
        padded = outputs(student, 4, 1, options, weights, [{"x": x, "context": context, "mask": allowed}])["out"][0]
        if near(padded, module_of(x, weights, 1, context=context, allowed=~full)):
            continue  # an inverted mask is another exercise's affair
        wrong = [(lambda: module_of(x, weights, 1, context=context), "with a context the mask has no effect")]
        message = "the mask that is given does not apply to the context"
        expected = module_of(x, weights, 1, context=context, allowed=full)
        judge(padded, expected, message, wrong, what=LENGTH_OF_X)


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 6: positions. The last token is judged wherever the causal mask does not matter.


@drawn
def turned_module(rng) -> tuple[Any, ...]:
    weights = weights_for(rng, 8, 2, 2, 4)
    return weights, normal(rng, 3, 5, 8)


def turning(positions: Tensor, keys: Tensor | None = None) -> Callable:
    """A ``prepare`` that turns queries by ``positions`` and keys by these, or by others."""
    keys = positions if keys is None else keys

    def turn(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        at, of = (p[:, None] if p.ndim == 2 else p for p in (positions, keys))
        return turned(q, at), turned(k, of), v

    return turn


@check("positions", points=1.5, title="rope turns queries and keys")
def rope_turns(student, rng):
    weights, x = turned_module(rng)
    at = torch.arange(5)
    said = outputs(student, 8, 2, {"causal": False, "stand_ins": ["rope"]}, weights, [{"x": x}])
    out = said["out"][0]
    expect(len(said["rope"]) > 0, "rope is not used: queries and keys must be turned by it")

    def other(prepare: Callable) -> Callable[[], Tensor]:
        return lambda: module_of(x, weights, 2, prepare=prepare)

    def flat(z: Tensor) -> Tensor:
        return split_right(turned(join_right(z), at), 2)

    wrong = [
        (other(lambda q, k, v: (q, k, v)), "what rope returns is not used: it gives back the turned tensor"),
        (other(lambda q, k, v: (turned(q, at), k, v)), "only the queries are turned: rope applies to the keys as well"),
        (other(lambda q, k, v: (q, turned(k, at), v)), "only the keys are turned: rope applies to the queries as well"),
        (
            other(lambda q, k, v: (turned(q, at), turned(k, at), turned(v, at))),
            "rope turns the values too: only queries and keys",
        ),
        (
            other(lambda q, k, v: (flat(q), flat(k), v)),
            "rope turns all heads together: split first, each head is turned by itself",
        ),
        (other(turning(at + 1)), "positions are counted from 1: the first token stands at 0"),
    ]
    expected = module_of(x, weights, 2, prepare=turning(at))
    if forgiven(out, expected, x, weights, 2, prepare=turning(at)):
        return
    judge(out, expected, "queries and keys are not turned by the positions 0, 1, 2, …", wrong, what=OUTPUT, at=last)


def turned_anyhow(
    x: Tensor, weights: dict, at: Tensor, source: Tensor | None = None, keys: Tensor | None = None
) -> list:
    """The output of one head, for what is turned, right or wrong: `rope_turns` judges that, and here positions are."""
    both = turning(at, keys)

    def of(turn: Callable) -> list[Callable[[], Tensor]]:
        return attended_anyhow(x, weights, context=source, prepare=turn)

    def values_too(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        return *both(q, k, v)[:2], both(q, v, k)[1]

    return [
        *of(both),
        *of(values_too),
        *of(lambda q, k, v: (both(q, k, v)[0], k, v)),
        *of(lambda q, k, v: (q, both(q, k, v)[1], v)),
        *of(lambda q, k, v: (q, k, v)),
    ]


@check("positions", points=0.5, title="positions that are given")
def given_positions(student, rng):
    weights, x = one_head(rng, 5)
    one = torch.arange(5) + rng.randrange(3, 9)
    each = torch.stack([torch.arange(5) + start for start in rng.sample(range(9), 2)])
    for given in (one, each):
        calls = [{"x": x, "token_positions": given}]
        said = uncaused(student, 4, 1, {"stand_ins": ["rope"]}, weights, calls)
        told = told_to_rope(said, 2)
        message = "token_positions has no effect: rope gets other positions"
        expect(not all(positions == [[*range(5)]] * 2 for positions in told), message)
        message = "rope must get the positions that are given, (seq,) or (batch, seq)"
        expect(all(positions == given.expand(2, 5).tolist() for positions in told), message)
        makes = turned_anyhow(x, weights, given)
        expect(like_any(said["out"][0], x, makes), f"{message}: the output is that of others")
    plain, moved = outputs(student, 4, 1, {}, weights, [{"x": x}, {"x": x, "token_positions": one}])["out"]
    expect_shape(moved, x.shape, OUTPUT)
    makes = [make for mask in masks_of(5) for make in attended_anyhow(x, weights, allowed=mask[None, None])]
    expect(like_any(plain, x, makes, at=whole), "this is judged when one head attends without rope")
    message = (
        "the causal mask compares given positions with the numbers of the keys: compare them with the positions of the "
        "keys, or tokens see those after them"
    )
    expect(near(moved, plain), message)


@check("positions", points=0.5, title="positions in any order: who sees whom")
def positions_in_any_order(student, rng):
    weights, x = one_head(rng, 5)
    _, at_once = outputs(student, 4, 1, {}, weights, [{"x": x}, {"x": x, "token_positions": torch.arange(5)}])["out"]
    taken = mask_taken(student, x, weights)  # right or wrong
    expect_shape(at_once, x.shape, OUTPUT)
    expect(near(at_once, seen_by(x, weights, taken)), "this is judged when positions 0, 1, 2, … change nothing")
    orders = torch.tensor([rng.sample(range(5), 5) for _ in range(2)])
    for given in (orders, orders[0]):
        (out,) = outputs(student, 4, 1, {}, weights, [{"x": x, "token_positions": given}])["out"]
        each = given.expand(2, 5)
        if near(out, module_of(x, weights, 1, allowed=(each[:, None] <= each[..., None])[:, None])):
            continue  # right here, whatever the mask is otherwise
        rows = [taken[order][:, order] for order in each]
        wrong = [
            (
                lambda: seen_by(x, weights, taken),
                "the causal mask goes by the order of the tokens: it is p_j <= p_i, by the positions that are given",
            ),
            (
                lambda rows=rows: seen_by(x, weights, rows[0]),
                "the positions of the first text make the causal mask of all of them",
            ),
        ]
        expected = module_of(x, weights, 1, allowed=torch.stack(rows)[:, None])
        message = "with positions in any order, a token must see those at its position or before: p_j <= p_i"
        judge(out, expected, message, wrong, what=OUTPUT)


def told_to_rope(said: dict, batch: int) -> list[list[list[int]]]:
    """The positions in each call of rope, for each text of the batch in order, whatever the layout of the heads."""
    expect(len(said["rope"]) > 0, "rope is not used: queries and keys must be turned by it")
    fit = all(at.numel() % batch == 0 for at in said["rope"])
    expect(fit, "rope must get a part of each text: (batch, num_heads, seq, d_head)")
    return [[sorted(set(text)) for text in positions.reshape(batch, -1).tolist()] for positions in said["rope"]]


@drawn
def pieces_of_text(rng) -> tuple[Any, ...]:
    """A text in pieces, for one head without rope."""
    weights, x = one_head(rng, 8)
    cuts = rng.choice([[3, 2, 1, 2], [2, 3, 1, 2], [3, 1, 2, 2]])
    return weights, list(x.split(cuts, dim=1)), x


@check("positions", points=1, title="in pieces or at once: who sees whom")
def pieces_see_what_came_before(student, rng):
    weights, pieces, x = pieces_of_text(rng)
    calls = [{"x": piece, "cache": True} for piece in pieces]
    uncaused(student, 4, 1, {}, weights, calls)  # if this fails, it is not the causal mask
    problems = dict.fromkeys(
        ["RuntimeError", "ValueError", "IndexError"],
        "with a cache there are more keys than queries: the causal mask has a row for each query, a column for each key",
    )
    said = outputs(student, 4, 1, {}, weights, calls, problems)
    expect(len(said["cache"]) > 0, "the cache is not used: cache.update takes new keys and values and returns all")
    out = said["out"]
    for answer, piece in zip(out, pieces, strict=True):
        expect_shape(answer, piece.shape, OUTPUT)
    taken = mask_taken(student, x, weights)
    ends = torch.tensor([piece.shape[1] for piece in pieces]).cumsum(0).tolist()
    parts = [
        module_of(piece, weights, 1, context=x[:, :end], allowed=taken[None, None, end - piece.shape[1] : end, :end])
        for piece, end in zip(pieces, ends, strict=True)
    ]
    if near(torch.cat(out, 1), torch.cat(parts, 1)):
        return
    if near(torch.cat([part[:, -1] for part in out]), torch.cat([part[:, -1] for part in parts])):
        raise Fail("with a cache, tokens see those after them: the causal mask must begin after what is in the cache")
    first = causal_of(8)[: pieces[1].shape[1], : ends[1]]
    if near(out[1], module_of(pieces[1], weights, 1, allowed=first[None, None], context=x[:, : ends[1]])):
        raise Fail("with a cache, tokens do not see all that comes before them: the causal mask begins at 0 again")
    alone = [seen_by(piece, weights, causal_of(piece.shape[1])) for piece in pieces]
    message = "what the cache returns is not used: keys of earlier pieces are lost"
    expect(not near(torch.cat(out, 1), torch.cat(alone, 1)), message)
    raise Fail("a text in pieces, with a cache, must give what it gives at once")


@check("positions", points=0.5, title="in pieces or at once: positions")
def positions_with_a_cache(student, rng):
    weights, x = one_head(rng, 6)
    x = x[:1]
    calls = [{"x": piece, "cache": True} for piece in x.split([3, 1, 2], dim=1)]
    said = outputs(student, 4, 1, {"causal": False, "stand_ins": ["rope"]}, weights, calls)
    told = [only(positions) for positions in told_to_rope(said, 1)]
    expect(len(said["cache"]) > 0, "the cache is not used: cache.update takes new keys and values and returns all")
    expect([0] not in told and [0, 1] not in told, "positions begin at 0 in every piece: number on from cache.length")
    ahead = "positions run ahead: read cache.length before cache.update changes it"
    expect([3, 4, 5] not in told and [4] not in told and [6, 7] not in told, ahead)
    right = [[0, 1, 2], [3], [4, 5], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]  # all keys at once: the next check's affair
    number_on = "the tokens of a piece must be numbered on from cache.length"
    expect(all(positions in right for positions in told) and [3] in told and [4, 5] in told, number_on)
    at = torch.arange(6)
    for out, (start, end) in zip(said["out"], ((0, 3), (3, 4), (4, 6)), strict=True):
        own, piece = at[start:end], x[:, start:end]
        kept = turned_anyhow(piece, weights, own, x[:, :end], at[:end])
        lost = turned_anyhow(piece, weights, own)  # what the cache returns is not used: another check's affair
        expect(like_any(out, piece, [*kept, *lost]), f"{number_on}: the output is that of others")


@check("positions", points=1, title="what the cache is given")
def what_the_cache_is_given(student, rng):
    attends_alone(student, rng)
    weights = weights_for(rng, 8, 4, 2, 2)
    x = normal(rng, 3, 5, 8)
    options = {"stand_ins": ["rope"], "num_kv_heads": 2}
    said = outputs(student, 8, 4, options, weights, [{"x": x, "cache": True}])
    expect(len(said["cache"]) > 0, "the cache is not used: cache.update takes new keys and values and returns all")
    expect(len(said["cache"]) == 1, "cache.update must be called once a call")
    k, v = said["cache"][0]
    repeated = "the cache gets keys and values that are repeated already: repeat after update, or it saves no memory"
    expect(list(k.shape) != [3, 4, 5, 2], repeated)
    shape = "the cache gets keys and values of the shape (batch, num_kv_heads, seq, d_head)"
    expect(list(k.shape) == [3, 2, 5, 2] and list(v.shape) == [3, 2, 5, 2], shape)
    keys, values = (split_right(x @ weights[f"{name}_proj.weight"].mT, 2) for name in "kv")
    at = torch.arange(5)
    plain = near(k, keys) or near(k, split_by_view(x @ weights["k_proj.weight"].mT, 2))
    expect(not (plain and said["rope"]), "the cache gets keys that rope has not turned: turn them first, once for all")
    expect(not plain, "the keys in the cache are not turned: rope is not used")
    swapped = near(k, values) or near(v, turned(keys, at))
    expect(not swapped, "the cache gets values in place of keys: update(k, v)")
    expect(not near(v, turned(values, at)), "rope turns the values too: only queries and keys")
    by_view = [split_by_view(x @ weights[f"{name}_proj.weight"].mT, 2) for name in "kv"]
    dealt = [split_interleaved(x @ weights[f"{name}_proj.weight"].mT, 2) for name in "kv"]
    message = "the cache gets other keys and values than those of this call: of x, projected, and the keys turned"
    known = [(keys, values), by_view, dealt]
    expect(any(near(k, turned(old, at)) and near(v, new) for old, new in known), message)


@drawn
def one_head_with_a_past(rng) -> tuple[Any, ...]:
    """One head, x, and where it is cut in two: what stands before the cut has a share in the output behind it."""
    for _ in range(200):
        weights, x = one_head(rng, 5)
        cut = rng.choice([2, 3])
        whole = module_of(x[:, cut:], weights, 1, context=x)
        if not like_any(whole, x[:, cut:], attended_anyhow(x[:, cut:], weights), tolerance=1e-2):
            return weights, x, cut
    raise AssertionError("no suitable input was found")


@check("masks", points=0.5, title="a mask and a cache")
def mask_with_a_cache(student, rng):
    weights, x, cut = one_head_with_a_past(rng)
    given = torch.ones(5, 5, dtype=torch.bool)
    given[:, rng.randrange(1, cut)] = False
    given[4, 0] = False
    first, second = x[:, :cut], x[:, cut:]
    start = {"x": first, "cache": True}
    plain = uncaused(student, 4, 1, {}, weights, [start, {"x": second, "cache": True}])["out"][1]
    lost = like_any(plain, second, attended_anyhow(second, weights))
    expect(not lost, "this is judged when a cache is used: update gives all keys and values, old and new")
    masked = uncaused(student, 4, 1, {}, weights, [start, {"x": second, "cache": True, "mask": given[cut:]}])["out"][1]
    expect_shape(masked, second.shape, OUTPUT)
    expect_shape(plain, second.shape, OUTPUT)
    expect(not near(last(plain), last(masked)), "with a cache the mask that is given has no effect")
    inverted = module_of(second, weights, 1, context=x, allowed=~given[cut:][None, None])
    if is_like(lambda: inverted, last, masked):
        return  # another check's affair
    expected = module_of(second, weights, 1, context=x, allowed=given[cut:][None, None])
    message = "with a cache the mask, a row for each query and a column for each key, is not followed"
    judge(masked, expected, message, what=OUTPUT, at=last)


# ---------------------------------------------------------------------------------------------------------------------
# Together: ordinary use of the module, with the student's own softmax and attention. These come last, so that the first
# message is that of the cause.


OWN_PARTS = {"stand_ins": ["default"]}


@drawn
def ordinary_module(rng) -> tuple[Any, ...]:
    weights = weights_for(rng, 12, 3, 3, 4)
    return weights, normal(rng, 2, 6, 12)


@check("multi_head", points=7.5, title="together: causal self-attention, with your own attention")
def self_attention_together(student, rng):
    if refused := build_of(student).refused:
        raise refused  # paid here, and once
    weights, x = ordinary_module(rng)
    (out,) = outputs(student, 12, 3, OWN_PARTS, weights, [{"x": x, "dtype": "float32"}])["out"]
    expected = module_of(x, weights, 3, allowed=causal_of(6)[None, None])
    judge_together(out, expected, "causal self-attention of three heads, with your own softmax and attention", OUTPUT)


@check("multi_head", points=5, title="together: a step of training")
def training_together(student, rng):
    weights, x = ordinary_module(rng)
    factor = normal(rng, *x.shape)
    said = outputs(student, 12, 3, OWN_PARTS | {"factor": factor}, weights, [{"x": x, "dtype": "float32"}])
    flows = "the gradients of causal self-attention, with your own softmax and attention"
    expect(said["gradients"] is not None, f"{flows}: there are none. Is there a detach, .data, no_grad or numpy?")
    leaves = [tensor.clone().requires_grad_() for tensor in (x, *weights.values())]
    named = dict(zip(weights, leaves[1:], strict=True))
    (module_of(leaves[0], named, 3, allowed=causal_of(6)[None, None]) * factor).sum().backward()
    for gradient, leaf in zip(said["gradients"], leaves, strict=True):
        expect(gradient is not None, f"{flows}: some of x and of the weights get none")
        judge_together(gradient, leaf.grad, flows, "a gradient has the shape of what it belongs to")


@check("grouped", points=5, title="together: causal self-attention with shared heads")
def grouped_together(student, rng):
    weights, x = weights_for(rng, 12, 6, 2, 2), normal(rng, 2, 6, 12)
    options = OWN_PARTS | {"num_kv_heads": 2}
    (out,) = outputs(student, 12, 6, options, weights, [{"x": x, "dtype": "float32"}])["out"]
    expected = module_of(x, weights, 6, 2, allowed=causal_of(6)[None, None])
    judge_together(out, expected, "six heads that share two of keys and values, with your own attention", OUTPUT)


@check("masks", points=5, title="together: causal, and padded")
def masks_together(student, rng):
    weights, x = ordinary_module(rng)
    padding = (torch.arange(6) < torch.tensor(rng.sample(range(2, 6), 2))[:, None])[:, None, None]
    call = {"x": x, "mask": padding, "dtype": "float32"}
    (out,) = outputs(student, 12, 3, OWN_PARTS, weights, [call])["out"]
    expected = module_of(x, weights, 3, allowed=padding & causal_of(6))
    judge_together(out, expected, "causal self-attention to a padded batch, with your own attention", OUTPUT)


@check("cross", points=2, title="together: attention to a padded context")
def context_together(student, rng):
    weights, x = ordinary_module(rng)
    context = normal(rng, 2, 9, 12)
    padding = (torch.arange(9) < torch.tensor(rng.sample(range(3, 9), 2))[:, None])[:, None, None]
    call = {"x": x, "context": context, "mask": padding, "dtype": "float32"}
    (out,) = outputs(student, 12, 3, OWN_PARTS, weights, [call])["out"]
    expected = module_of(x, weights, 3, context=context, allowed=padding.expand(2, 1, 6, 9))
    judge_together(out, expected, "three heads that attend to a padded context, with your own attention", OUTPUT)


@check("positions", points=5, title="together: a text in pieces, as when one is written")
def generation_together(student, rng):
    weights, x = weights_for(rng, 8, 4, 2, 2), normal(rng, 2, 7, 8)
    options = {"num_kv_heads": 2, "stand_ins": ["rope", "default"]}
    calls = [{"x": piece, "cache": True, "dtype": "float32"} for piece in x.split([3, 2, 1, 1], dim=1)]
    out = outputs(student, 8, 4, options, weights, calls)["out"]
    for answer, call in zip(out, calls, strict=True):
        expect_shape(answer, call["x"].shape, OUTPUT)
    expected = module_of(x, weights, 4, 2, allowed=causal_of(7)[None, None], prepare=turning(torch.arange(7)))
    where = "a text in pieces, with rope, a cache and shared heads, and your own attention"
    judge_together(torch.cat(out, 1), expected, where, OUTPUT)
