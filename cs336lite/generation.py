# Built from notebooks/text/appendix/03x_writing.py by `cs336lite build`: edit that file, not this one.
"""Writing with a language model (生成): which token comes next, a cache of keys and values, and the loop.

Choices: temperature, top-k, top-p (Holtzman et al. 2019, arXiv 1904.09751). A model is `cs336lite.model.Transformer`, or
what is called like it: ``model(tokens, cache=..., **given)`` gives logits (batch, seq, vocab_size); ``new_cache(length)``
a `KVCache`; ``config`` has ``vocab_size``, ``context_length`` and ``positions``.

Built in notebooks/appendix/03x_writing.ipynb.
"""

import math
from collections.abc import Sequence, Set
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cs336lite.positions import BOUNDED, as_padding


def next_tokens(
    logits: Float[Tensor, "batch vocab"], *, temperature: int | float = 1.0, top_k: int | None = None,
    top_p: int | float | None = None, generator: torch.Generator | None = None,
) -> Int[Tensor, " batch"]:  # fmt: skip
    """One token for each row: the likeliest at temperature 0, else drawn from softmax(logits / temperature).

    ``top_k`` keeps the k likeliest; ``top_p`` the fewest whose probabilities reach p (Holtzman et al. 2019, arXiv
    1904.09751). ValueError for a temperature below 0 or infinite, a top_k that is no integer from 1, a top_p outside
    (0, 1], and logits whose greatest is no number.

    >>> next_tokens(torch.tensor([[0.1, 2.0, 0.3], [5.0, 1.0, 1.0]]), temperature=0).tolist()
    [1, 0]
    """
    whole = top_k is None or (isinstance(top_k, int) and top_k >= 1)
    if not 0 <= temperature < math.inf or not whole or (top_p is not None and not 0 < top_p <= 1):
        raise ValueError(
            f"0 <= temperature {temperature} < inf, whole top_k {top_k} >= 1, 0 < top_p {top_p} <= 1 must hold"
        )
    broken = ~logits.amax(dim=-1).isfinite()
    if broken.any():
        raise ValueError(
            f"the greatest logit of row {int(broken.nonzero()[0])} is NaN or infinite: nothing can be drawn"
        )
    if temperature == 0:
        return logits.argmax(dim=-1)
    ordered, order = (logits.float() / temperature).sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    if top_k is not None:
        probabilities[:, top_k:] = 0
    if top_p is not None:  # a token stays when those before it do not reach p
        probabilities[probabilities.cumsum(dim=-1) - probabilities >= top_p * probabilities.sum(-1, keepdim=True)] = 0
    return order.gather(-1, torch.multinomial(probabilities, 1, generator=generator)).squeeze(-1)


class SourceCache:
    """Keys and values of the source text in one layer's cross-attention, which must have neither a causal mask nor RoPE.

    The first ``update`` is kept, and what later ones are given is not. A `cs336lite.attention.Cache`.
    """

    def __init__(self) -> None:
        self.context, self.kept, self.length = None, None, 0

    def of(self, attention: nn.Module, context: Float[Tensor, "batch source_seq d_model"]) -> "SourceCache":
        """This cache with the keys and values of ``context``, computed unless it holds those of this very tensor."""
        if self.context is not context:
            self.context = self.kept = None
            attention(context, cache=self)
            self.context = context
        return self

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The source's keys and values, (batch, num_kv_heads, source_seq, d_head) each."""
        if self.kept is None:
            self.kept = k, v
        return self.kept


class LayerCache:
    """Keys and values of one layer, in memory for ``max_length`` tokens that is taken once. A `cs336lite.attention.Cache`.

    ``source`` is for those of a source text, in a decoder that reads one.

    ``update`` raises ValueError when there is no room, and for keys and values of another kind than those that it holds.
    """

    def __init__(self, max_length: int) -> None:
        if max_length < 0:
            raise ValueError(f"a cache cannot have room for {max_length} tokens")
        self.max_length, self.length = max_length, 0
        self.kept: tuple[Tensor, Tensor] | None = None
        self.source = SourceCache()

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (batch, num_kv_heads, seq, d_head) each; returns those of all tokens so far."""
        stop = self.length + k.shape[2]
        if stop > self.max_length:
            raise ValueError(f"the cache has room for {self.max_length} tokens, and these would be {stop}")
        if self.kept is None:
            self.kept = tuple(x.new_empty(*x.shape[:2], self.max_length, x.shape[3]) for x in (k, v))
        for memory, new in zip(self.kept, (k, v)):
            held, given = ((*x.shape[:2], x.shape[3], x.dtype, x.device) for x in (memory, new))
            if held != given:
                kind = "(batch, num_kv_heads, d_head, dtype, device)"
                raise ValueError(f"the cache holds {held}, and these are {given}, as {kind}: make a new cache")
        for memory, new in zip(self.kept, (k, v)):
            memory[:, :, self.length : stop] = new
        self.length = stop
        return self.kept[0][:, :, :stop], self.kept[1][:, :, :stop]


class KVCache:
    """Keys and values (KV 缓存) of all layers of a decoder, so that a new token costs one token's work.

    >>> cache = KVCache(num_layers=2, max_length=8)
    >>> k, v = cache.layers[0].update(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    >>> tuple(k.shape), cache.length, cache.bytes
    ((1, 2, 3, 4), 3, 512)
    """

    def __init__(self, num_layers: int, max_length: int) -> None:
        self.layers = [LayerCache(max_length) for _ in range(num_layers)]

    @property
    def length(self) -> int:
        return self.layers[0].length

    @property
    def bytes(self) -> int:
        return sum(x.nbytes for layer in self.layers for x in (*(layer.kept or ()), *(layer.source.kept or ())))


def check_ids(name: str, ids: Tensor) -> None:
    """TypeError for other numbers than integers, ValueError for another shape than (batch, seq)."""
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name} are {ids.dtype}, and ids are torch.int64 or torch.int32")
    if ids.ndim != 2:
        raise ValueError(f"{name} have the shape {tuple(ids.shape)}: give (batch, seq), a single text as {name}[None]")


def check_vocabulary(ids: Tensor, vocab_size: int) -> None:
    """ValueError that names the first id outside the vocabulary."""
    unknown = ids[(ids < 0) | (ids >= vocab_size)]
    if unknown.numel():
        raise ValueError(f"token {int(unknown[0])} is not in the vocabulary, whose ids are 0 to {vocab_size - 1}")


def check_prompts(tokens: Tensor, padding: Tensor | None, vocab_size: int) -> Tensor | None:
    """The padding as booleans; ValueError for prompts after which no text can go on."""
    check_ids("tokens", tokens)
    check_vocabulary(tokens, vocab_size)
    if not tokens.shape[1]:
        raise ValueError("the prompt is empty: give at least one token, such as the one that begins a text")
    if padding is None:
        return None
    real = as_padding(padding, *tokens.shape)
    wrong = (real.long().cummax(dim=1).values != real).any(dim=1) | ~real[:, -1]
    if wrong.any():
        raise ValueError(f"row {int(wrong.nonzero()[0])} has padding after a token, or nothing else: pad on the left")
    return real


def ids_that_stop(stop: int | Sequence[int] | Set[int] | Tensor | None, vocab_size: int) -> Tensor:
    """The tokens that end a text, one or several or none."""
    several = [] if stop is None else list(stop) if isinstance(stop, Set) else stop
    found = torch.as_tensor(several).flatten()
    if found.numel() and found.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"stop is {stop!r}: give one id, or several")
    check_vocabulary(found, vocab_size)
    return found


def places_of(padding: Tensor, seq: int, past: int, scheme: str) -> dict[str, Tensor]:
    """The padding of prompts continued over all ``seq`` tokens so far, and where those after the first ``past`` stand."""
    real = F.pad(padding, (0, seq - padding.shape[1]), value=True)
    positions = (real.cumsum(dim=-1) - 1).clamp(min=0)[:, past:]
    if scheme == "glm":  # GLM has two positions for each token; outside its blanks the second is 0
        positions = torch.stack((positions, torch.zeros_like(positions)), dim=1)
    return {"padding": real, "token_positions": positions}


@torch.no_grad()
def generate(
    model: nn.Module, tokens: Int[Tensor, "batch seq"], max_new_tokens: int, *,
    stop: int | Sequence[int] | Set[int] | Tensor | None = None, padding: Tensor | None = None, use_cache: bool = True,
    given: dict[str, Any] | None = None, **choice: Any,
) -> Int[Tensor, "batch longer"]:  # fmt: skip
    """``tokens`` and what the model adds to them, token by token until ``max_new_tokens`` or all rows have met ``stop``.

    ``choice`` goes to `next_tokens`, ``given`` to the model (context, prefix); the encoder reads a ``source`` once. Prompts of different lengths are padded
    on the left, ``padding`` False or 0 there. ``stop`` is an id or several; after one a row goes on with it. ValueError
    beyond the context length, for an empty prompt, padding elsewhere, ids that do not exist.
    """
    config, training, given = model.config, model.training, dict(given or {})
    padding = check_prompts(tokens, padding, config.vocab_size)
    stop = ids_that_stop(stop, config.vocab_size).to(tokens.device)
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, and must be at least 0")
    length = tokens.shape[1] + max_new_tokens
    if length > config.context_length and config.positions in BOUNDED:
        raise ValueError(f"{length} tokens, and the model's context_length is {config.context_length}")
    cache = model.new_cache(length) if use_cache else None
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    model.eval()
    try:
        if given.get("source") is not None:
            given["context"] = model.encode(given.pop("source"), given.get("source_padding"))
        for _ in range(max_new_tokens):
            if stop.numel() and ended.all():
                break
            past = cache.length if use_cache else 0
            places = {} if padding is None else places_of(padding, tokens.shape[1], past, config.positions)
            logits = model(tokens[:, past:], cache=cache, **given, **places)[:, -1]
            new = torch.where(ended, tokens[:, -1], next_tokens(logits, **choice))
            ended |= torch.isin(new, stop)
            tokens = torch.cat((tokens, new[:, None]), dim=1)
    finally:
        model.train(training)
    return tokens
