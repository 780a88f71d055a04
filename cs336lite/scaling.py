# Built from notebooks/text/08_scaling.py by `cs336lite build`: edit that file, not this one.
"""Scaling laws: the best split of a budget, published constants, a family of models, and the widths of µP.

N is the number of weights that a token is multiplied by (`accounting.active_parameters`), D the number of tokens
trained on, C = 6 N D the FLOPs of training; a loss is in nats per token. The fits are those of `cs336lite.fits`.

Built in notebooks/08_scaling.ipynb.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cs336lite.accounting import active_parameters
from cs336lite.fits import Numbers, PowerLaw, Surface, columns_of, positive
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.training import Experiment, Tokens, TrainingConfig, generator, parameter_groups, train


def isoflop_model(width: int, vocab_size: int = 256, context_length: int = 64) -> TransformerConfig:
    """A member of a family that differs in width only: 2 layers, 2 heads, SwiGLU of 8/3 width."""
    return TransformerConfig(
        vocab_size=vocab_size, context_length=context_length, d_model=width, num_layers=2, num_heads=2,
        d_ff=8 * round(width / 3), attend="sdpa",
    )  # fmt: skip


def isoflop_run(width: int, flops: int | float, seed: int = 0, *, lr_times_width: float = 0.24) -> Experiment:
    """The experiment that trains this width until 6 N D = flops, in batches of 16 sequences.

    ValueError for numbers that are not finite and above 0, and for a budget below half a step.
    """
    positive(width=width, flops=flops, lr_times_width=lr_times_width)
    model = isoflop_model(width)
    steps = round(flops / (6 * active_parameters(model.shape) * 16 * model.context_length))
    positive(steps=steps)
    lr = lr_times_width / width
    training = TrainingConfig(
        steps=steps, batch_size=16, lr=lr, warmup=steps // 10, final_lr=0.1, eval_batches=64, seed=seed
    )  # fmt: skip
    return Experiment(model, training, f"{flops:.2e} FLOPs, width {width}, seed {seed}, lr {lr:.2g}")


@dataclass(frozen=True)
class Allocation:
    """A size, a number of tokens and the loss that is expected of them."""

    size: float
    tokens: float
    loss: float


def compute_optimal(surface: Surface, flops: int | float) -> Allocation:
    """The size and tokens of least loss with 6 N D = flops: where alpha A / N^alpha = beta B / D^beta.

    ValueError: a budget, or a constant but E, that is not finite and above 0.

    >>> best = compute_optimal(REPLICATION, 5.76e23)     # Chinchilla's budget; it had 70e9 and 1.4e12
    >>> f"{best.size:.2g} {best.tokens:.2g} {best.loss:.2f}"
    '7.2e+10 1.3e+12 1.97'
    """
    s = surface
    positive(flops=flops, A=s.A, B=s.B, alpha=s.alpha, beta=s.beta)
    g = (s.alpha * s.A / (s.beta * s.B)) ** (1 / (s.alpha + s.beta))
    size = float(g * (flops / 6) ** s.size_exponent)
    tokens = float(flops / 6 / size)
    return Allocation(size, tokens, s(size, tokens))


CHINCHILLA_PRINTED = Surface(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)  # as arXiv 2203.15556 prints approach 3
CHINCHILLA = Surface(E=1.6934, A=406.4, B=410.7, alpha=0.3392, beta=0.2849)  # with the digits of its TeX source
REPLICATION = Surface(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)  # the same runs, arXiv 2404.10102


PF_DAY = 1e15 * 86_400  # Kaplan et al. count compute in days of 1e15 FLOP/s, and neither embeddings nor their FLOPs
KAPLAN_SIZE = PowerLaw(1.3e9 / PF_DAY**0.73, 0.73)  # arXiv 2001.08361, appendix A

# arXiv 2203.15556, table 3: sizes, and the FLOPs and tokens for which approach 1 calls them the best
CHINCHILLA_TABLE = {
    "sizes": (4e8, 1e9, 1e10, 6.7e10, 1.75e11, 2.8e11, 5.2e11, 1e12, 1e13),
    "flops": (1.92e19, 1.21e20, 1.23e22, 5.76e23, 3.85e24, 9.90e24, 3.43e25, 1.27e26, 1.30e28),
    "tokens": (8e9, 20.2e9, 205.1e9, 1.5e12, 3.7e12, 5.9e12, 11e12, 21.2e12, 216.2e12),
}


def kaplan_view(surface: Surface, sizes: Numbers, embedding: int | float) -> tuple[np.ndarray, np.ndarray]:
    """Compute-optimal runs seen without embeddings: (FLOPs 6 N D, tokens D) for each non-embedding size N.

    The whole model has N + embedding * N ** (1/3) weights, since an embedding grows with the width (arXiv 2406.12907).
    """
    (n,) = columns_of(1, sizes=sizes)
    if not 0 <= embedding < math.inf:
        raise ValueError(f"embedding is {embedding}, but must be finite and not negative")
    whole = n + embedding * n ** (1 / 3)
    growth = (n + embedding / 3 * n ** (1 / 3)) / whole  # d ln whole / d ln n
    s = surface
    tokens = (s.beta * s.B * whole**s.alpha / (s.alpha * s.A * growth)) ** (1 / s.beta)
    return 6 * n * tokens, tokens


def _follows_width(name: str, parameter: torch.Tensor) -> bool:
    """Whether a parameter has a width of the model as its input: the matrices of the blocks, and the output layer."""
    return parameter.ndim > 1 and not name.startswith("embedding") and ".positions." not in name


def mup(model: Transformer, base_width: int) -> Transformer:
    """Give a new model, in place, the start of the maximal update parametrisation (arXiv 2203.03466, table 3); the model.

    At ``base_width`` nothing changes. In a model r times as wide, matrices inside the blocks get smaller by sqrt(r) and the
    output layer by r. `mup_groups` has the learning rates that belong to it. Heads should keep their size. ValueError for
    tied embeddings, which cannot be both.
    """
    positive(base_width=base_width)
    if model.config.tied_embeddings:
        raise ValueError("with tied embeddings one matrix would have to be scaled in two ways")
    ratio = model.config.d_model / base_width
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if _follows_width(name, parameter):
                parameter.div_(ratio if name.startswith("output") else math.sqrt(ratio))
    return model


def mup_groups(model: Transformer, weight_decay: float, *, base_width: int) -> list[dict[str, Any]]:
    """Parameter groups for ``train(groups=partial(mup_groups, base_width=16))``: what `mup` scales learns at 1 / r of the rate.

    The others are as in `training.parameter_groups`.
    """
    positive(base_width=base_width)
    slower = [p for name, p in model.named_parameters() if _follows_width(name, p) and p.requires_grad]
    taken = {id(p) for p in slower}
    groups = [{"params": slower, "weight_decay": weight_decay, "lr_scale": base_width / model.config.d_model}]
    for group in parameter_groups(model, weight_decay):
        groups.append(group | {"params": [p for p in group["params"] if id(p) not in taken]})
    return [group for group in groups if group["params"]]


def train_mup(
    model: TransformerConfig, config: TrainingConfig, data: Tokens, validation: Tokens, base_width: int
) -> float:  # fmt: skip
    """The validation loss after training in the maximal update parametrisation; infinite when it diverged.

    With ``base_width`` the model's own width this is the usual parametrisation.
    """

    def groups(model: Transformer, weight_decay: float) -> list[dict[str, Any]]:
        found = mup_groups(model, weight_decay, base_width=base_width)
        return [group | {"fused": False} for group in found]  # PyTorch's fused AdamW rounds otherwise than the records

    made = mup(Transformer(model, generator(config.seed, 0, purpose=1)), base_width)  # drawn as `train` draws it
    return train(made, config, data, validation=validation, groups=groups).final
