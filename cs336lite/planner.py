# Built from notebooks/text/appendix/08x_planner.py by `cs336lite build`: edit that file, not this one.
"""A budget of FLOPs to a plan: which model, how many tokens, which rate and batch, how many days on which hardware.

Built in notebooks/appendix/08x_planner.ipynb.
"""

import math
from dataclasses import dataclass

from scipy.optimize import minimize_scalar

from cs336lite import accounting
from cs336lite.accounting import ModelShape, active_parameters, training_flops
from cs336lite.fits import Estimate, PowerLaw, Surface, positive
from cs336lite.scaling import REPLICATION, Allocation, compute_optimal


@dataclass(frozen=True)
class Hardware:
    """A device: FLOP/s of dense matrix products in bfloat16 (float32 on a CPU), and bytes of memory."""

    name: str
    peak_flops: float
    memory: float


HARDWARE = {
    "H100": Hardware("NVIDIA H100 SXM", 989e12, 80e9),
    "H200": Hardware("NVIDIA H200 SXM", 989e12, 141e9),
    "A100": Hardware("NVIDIA A100 SXM", 312e12, 80e9),
    "RTX 4090": Hardware("NVIDIA GeForce RTX 4090", 165e12, 24e9),
    "CPU core": Hardware("one core of a laptop, about", 7e10, 8e9),
}
"""Peaks of the makers' data sheets, without sparsity."""

# best peak learning rate and tokens in a batch as power laws of C (DeepSeek LLM, arXiv 2401.02954)
LEARNING_RATE, BATCH_TOKENS = PowerLaw(0.3118, -0.1250), PowerLaw(0.2920, 0.3271)
FITTED = (1e17, 2e19)  # FLOPs between which they were fitted


def shape_near(
    size: int | float, vocab_size: int = 32_000, context_length: int = 2_048, aspect: int | float = 128
) -> ModelShape:
    """A Llama-like shape (SwiGLU, tied embeddings) of about this many weights, with d_model / num_layers about aspect.

    From 512 channels on the number of heads is a multiple of 8. ValueError when the vocabulary alone takes more, or no width
    up to 32,768 is near the aspect.

    >>> shape = shape_near(7e9)
    >>> shape.d_model, shape.num_layers, shape.num_heads, round(active_parameters(shape) / 1e9, 1)
    (4096, 34, 32, 7.0)
    """
    positive(size=size, vocab_size=vocab_size, context_length=context_length, aspect=aspect)
    found = []
    for d in [*range(8, 128, 8), *range(128, 512, 64), *range(512, 1_024, 128), *range(1_024, 32_769, 1_024)]:
        head = 8 if d < 128 else 64 if d < 1_024 else 128
        heads = d // head if d < 512 else 8 * max(1, d // head // 8)
        d_ff = 8 * round(d / 3) if d < 128 else 64 * round(d / 24)
        block = 4 * d**2 + 3 * d * d_ff  # queries, keys, values, outputs; gate, up, down
        layers = max(1, round((size - vocab_size * d) / block))
        off = abs(math.log((vocab_size * d + layers * block) / size))
        found.append((20 * max(off - 0.02, 0) + abs(math.log(d / layers / aspect)), off, d, layers, heads, d_ff))
    _, off, d, layers, heads, d_ff = min(found)
    if off > 0.5 or (d == 32_768 and layers > 4 * d / aspect):
        raise ValueError(f"no shape has about {size:.3g} weights, a vocabulary of {vocab_size}, an aspect of {aspect}")
    return ModelShape(vocab_size, context_length, d, layers, heads, d_ff, glu=True, tied_embeddings=True)


@dataclass(frozen=True)
class Plan:
    """What to train with a budget. ``str`` gives it as a table."""

    flops: int | float  # of training
    shape: ModelShape
    size: int  # weights that a token is multiplied by
    tokens: int | float
    loss: float
    loss_interval: tuple[float, float] | None  # None when the law came without samples
    learning_rate: float
    batch_tokens: int
    steps: int
    devices: int
    hardware: Hardware
    days: float
    state_bytes: int  # weights, gradients and AdamW, over all devices together
    device_bytes: float  # on each: its share of the state, and the activations of one sequence
    inference_tokens: int | float = 0

    @property
    def extrapolated(self) -> float:
        """How many times beyond the budgets of `FITTED` this one is; 1 within them."""
        return max(1.0, FITTED[0] / self.flops, self.flops / FITTED[1])

    def __str__(self) -> str:
        return "\n".join(f"{name:<14}{value}" for name, value in _rows(self))


def _rows(p: Plan) -> list[tuple[str, str]]:
    s, gb, doubt, fits = p.shape, 1e9, p.loss_interval, p.device_bytes <= p.hardware.memory
    hours = 24 * p.days
    took = f"{p.days:.3g} days" if p.days >= 1 else f"{hours:.3g} hours" if hours >= 1 else f"{60 * hours:.3g} minutes"
    return [
        ("model", f"{p.size:.3g} weights: {s.num_layers} layers, d_model {s.d_model}, {s.num_heads} heads, d_ff {s.d_ff}"),
        ("tokens", f"{p.tokens:.3g}, {p.tokens / p.size:.3g} for each weight"),
        ("FLOPs", f"{p.flops:.3g}" + (f", and {2 * p.size * p.inference_tokens:.3g} of use" if p.inference_tokens else "")),
        ("loss", f"{p.loss:.4g} nats" + (f", 95 % interval {doubt[0]:.4g} to {doubt[1]:.4g}" if doubt else "")),
        ("training", f"{p.steps:,} steps of {p.batch_tokens:,} tokens, learning rate {p.learning_rate:.2g}"
         + (f": extrapolated {p.extrapolated:,.0f} times, test them first" if p.extrapolated > 10 else "")),
        ("time", f"{took} on {p.devices} x {p.hardware.name}"),
        ("memory", f"{p.state_bytes / gb:.3g} GB of state in all, {p.device_bytes / gb:.3g} GB a device of "
         f"{p.hardware.memory / gb:.3g}" + ("" if fits else ": does not fit, take more devices")),
    ]  # fmt: skip


def _device(hardware: str | Hardware, devices: int | float, mfu: int | float) -> Hardware:
    """The hardware of that name. KeyError, ValueError as `plan`."""
    if isinstance(hardware, str) and hardware not in HARDWARE:
        raise KeyError(f"no hardware {hardware!r}: there is {', '.join(HARDWARE)}, or give a Hardware of your own")
    device = HARDWARE[hardware] if isinstance(hardware, str) else hardware
    positive(devices=devices, mfu=mfu, peak_flops=device.peak_flops, memory=device.memory)
    if mfu > 1:
        raise ValueError(f"mfu is {mfu}, but is a share of the peak: 0.4 for 40 %")
    if devices % 1:
        raise ValueError(f"devices is {devices}, but must be a whole number")
    return device


def overtrained(surface: Surface, loss: int | float, inference_tokens: int | float) -> Allocation:
    """Size and tokens that reach ``loss`` with the least FLOPs over a model's life: 6 N D + 2 N inference_tokens.

    With no inference this is the compute-optimal run; the more a model is used, the smaller and longer trained it
    should be (Sardana et al. 2024, arXiv 2401.00448). ValueError: a loss that the surface never reaches.
    """
    s = surface
    if not s.E < loss < math.inf or not 0 <= inference_tokens < math.inf:
        raise ValueError(
            f"the loss {loss} must be above {s.E}, and inference_tokens {inference_tokens} not negative, both finite"
        )
    least = math.log(s.A / (loss - s.E)) / s.alpha  # the size that would need endless data

    def tokens(size: float) -> float:
        return (s.B / (loss - s.E - s.A / size**s.alpha)) ** (1 / s.beta)

    def cost(x: float) -> float:
        size = math.exp(least + math.exp(x))
        return math.log(size) + math.log(6 * tokens(size) + 2 * inference_tokens)

    size = math.exp(
        least + math.exp(minimize_scalar(cost, bounds=(-12, 3), method="bounded", options={"xatol": 1e-9}).x)
    )
    return Allocation(size, tokens(size), float(loss))


def plan(
    flops: int | float, law: Surface | Estimate = REPLICATION, *, hardware: str | Hardware = "H100", devices: int = 8,
    mfu: int | float = 0.4, vocab_size: int = 32_000, context_length: int = 2_048, aspect: int | float = 128,
    inference_tokens: int | float = 0,
) -> Plan:  # fmt: skip
    """The model and the tokens that make the most of a budget, what that takes, and the loss to expect.

    With ``inference_tokens`` the budget only says how good the model must be: as the best one for it. Size and tokens
    are then those of least cost over training and use. State is split evenly over the devices (ZeRO, FSDP), blocks are
    computed again in the backward pass, in bfloat16 with float32 masters. KeyError for hardware that has no name here,
    ValueError for numbers that make no sense; ``mfu`` is a share, 0.4 for 40 %.

    >>> plan(1e21).shape.num_layers, round(plan(1e21).tokens / 1e9), round(plan(1e21).days, 1)
    (24, 53, 3.7)
    """
    device = _device(hardware, devices, mfu)
    surface = law.surface if isinstance(law, Estimate) else law
    best = compute_optimal(surface, flops)
    if inference_tokens:
        best = overtrained(surface, best.loss, inference_tokens)
    shape = shape_near(best.size, vocab_size, context_length, aspect)
    return _planned(law, best, shape, device, devices, mfu, flops, inference_tokens)


def _planned(law: Surface | Estimate, best: Allocation, shape: ModelShape, device: Hardware, devices: int, mfu: float,
             flops: int | float, inference_tokens: int | float) -> Plan:  # fmt: skip
    size, seq = active_parameters(shape), shape.context_length
    a_token = training_flops(shape, 1, seq).total / seq  # attention's square included, so the budget is kept
    tokens = best.tokens if inference_tokens else flops / a_token
    spent = a_token * tokens
    batch = seq * max(1, round(BATCH_TOKENS(spent) / seq))
    state = accounting.training_memory(shape, "adamw", "mixed").total
    kept = accounting.activation_bytes(shape, 1, seq, itemsize=2, recompute="block")
    surface, doubt = law, None
    if isinstance(law, Estimate):
        surface, doubt = law.surface, law.run_interval(size, tokens)
    return Plan(
        flops=spent, shape=shape, size=size, tokens=tokens, loss=surface(size, tokens), loss_interval=doubt,
        learning_rate=LEARNING_RATE(spent), batch_tokens=batch, steps=math.ceil(tokens / batch),
        devices=devices, hardware=device,
        days=accounting.training_days(spent, devices=devices, peak_flops=device.peak_flops, mfu=mfu),
        state_bytes=state, device_bytes=state / devices + kept, inference_tokens=inference_tokens,
    )  # fmt: skip
