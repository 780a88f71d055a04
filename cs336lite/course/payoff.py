"""What the last page of the course does with a model: text in, loss in bits per byte, samples out.

Losses of models with different tokenizers compare by bits per byte (每字节比特数): the bits that a model needs for the
held-out text, divided by its bytes in UTF-8. A token of several bytes may cost more, and there are fewer of them.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from cs336lite.course.baselines import baselines
from cs336lite.course.corpus import SEPARATOR
from cs336lite.course.data import SOURCES, data_folder, default_corpus, documents
from cs336lite.course.paths import CourseError
from cs336lite.generation import next_tokens

__all__ = ["Texts", "Tokenized", "balance", "evaluate", "read_texts", "tokenized", "train", "write"]

BUILDING = "CS336LITE_BUILD" in os.environ  # bars are for a person who waits


@dataclass(frozen=True)
class Texts:
    """Documents to learn from and to be judged on, and where they come from."""

    name: str
    train: list[str]
    heldout: list[str]

    @property
    def digest(self) -> str:
        """A hash of all of it: losses compare when this is the same."""
        whole = "\0".join([SEPARATOR.join(self.train), SEPARATOR.join(self.heldout)])
        return hashlib.sha256(whole.encode()).hexdigest()[:12]

    @property
    def heldout_bytes(self) -> int:
        return sum(len(text.encode()) for text in self.heldout)


def read_texts(train_bytes: int, heldout_bytes: int = 50_000) -> Texts:
    """The start of TinyStories where `course.data.load` has put the file on this machine, else of the default corpus.

    Raises:
        CourseError: the text is shorter than what is asked for.
    """
    files = {name: data_folder() / SOURCES[name].name for name in ("tinystories", "tinystories-valid")}
    name, path = next(((n, p) for n, p in files.items() if p.is_file()), ("default", None))
    found = documents(path or default_corpus())
    heldout, train = taken(found, heldout_bytes), taken(found, train_bytes)
    if not train or sum(len(text.encode()) for text in train) < 0.9 * train_bytes:
        raise CourseError(f"the corpus {name} has no {train_bytes:,} bytes to train on: ask for fewer")
    return Texts(name, train, heldout)


def taken(found: Iterator[str], size: int) -> list[str]:
    """The next documents, until they have ``size`` bytes."""
    texts: list[str] = []
    while size > 0 and (text := next(found, None)) is not None:
        texts.append(text)
        size -= len(text.encode())
    return texts


@dataclass(frozen=True)
class Tokenized:
    """Token ids, (tokens,), of the training text and of the held-out text, and the bytes of the latter."""

    train: Tensor
    heldout: Tensor
    vocab_size: int
    heldout_bytes: int

    @property
    def tables(self) -> dict[str, float]:
        """Bits per byte of a unigram and of a bigram table (`course.baselines`)."""
        found = baselines(self.train, self.heldout, self.vocab_size)
        return {name: self.bits_per_byte(getattr(found, name)) for name in ("unigram", "bigram")}

    def bits_per_byte(self, nats_a_token: float) -> float:
        return nats_a_token * (len(self.heldout) - 1) / math.log(2) / self.heldout_bytes


def tokenized(texts: Texts, tokenizer: Any) -> Tokenized:
    """All texts as ids, each with the separator behind it.

    Raises:
        CourseError: the tokenizer does not give the text back.
    """
    probe = texts.heldout[0]
    if tokenizer.decode(tokenizer.encode(probe)) != probe:
        raise CourseError(
            'the tokenizer does not decode what it has encoded: run check("a1_bpe") in the notebook of a1'
        )
    train, heldout = (ids(part, tokenizer) for part in (texts.train, texts.heldout))
    return Tokenized(train, heldout, int(max(train.max(), heldout.max())) + 1, texts.heldout_bytes)


def ids(texts: Iterable[str], tokenizer: Any) -> Tensor:
    found: list[int] = []
    for text in tqdm(texts, desc="encode", leave=False, disable=BUILDING):
        found += tokenizer.encode(text + SEPARATOR)
    return torch.from_numpy(np.array(found, dtype=np.int64))


def balance(model: nn.Module) -> Tensor | float:
    """The load-balancing losses that the mixtures of a model have left, their sum."""
    return sum(getattr(module, "balance", 0.0) for module in model.modules())


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Tokenized,
    *,
    steps: int,
    batch_size: int,
    length: int,
    seed: int = 0,
    points: int = 6,
) -> list[tuple[int, float]]:
    """Train with warmup and a cosine; (step, held-out bits per byte) at ``points`` places, the last at the end.

    Args:
        model: ids (batch, seq) to logits (batch, seq, vocab_size).
        length: tokens in a sequence.
    """
    generator = torch.Generator().manual_seed(seed)
    peaks = [group["lr"] for group in optimizer.param_groups]
    told = {round(steps * (i + 1) / points) for i in range(points)} | {steps}
    curve = []
    for step in tqdm(range(1, steps + 1), desc="train", leave=False, disable=BUILDING):
        warm = min(1.0, step / max(1, steps // 20))
        for group, peak in zip(optimizer.param_groups, peaks):
            group["lr"] = peak * warm * (0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2)
        starts = torch.randint(len(data.train) - length, (batch_size, 1), generator=generator)
        batch = data.train[starts + torch.arange(length + 1)]
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()) + 0.01 * balance(model)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step in told:
            curve.append((step, evaluate(model, data, length)))
    return curve


@torch.no_grad()
def evaluate(model: Callable[[Tensor], Tensor], data: Tokenized, length: int) -> float:
    """Held-out bits per byte: the text in windows of ``length`` tokens, each of which begins without a past."""
    nats, size = 0.0, len(data.heldout) - 1
    starts = list(range(0, size, length))
    full = [start for start in starts if start + length <= size]
    batches = [full[i : i + 32] for i in range(0, len(full), 32)] + [[start] for start in starts[len(full) :]]
    for batch in batches:
        window = torch.arange(min(length, size - batch[0]) + 1)
        tokens = data.heldout[torch.tensor(batch)[:, None] + window]
        logits = model(tokens[:, :-1])
        nats += F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum").item()
    return data.bits_per_byte(nats / size)


@torch.no_grad()
def write(
    model: nn.Module, tokenizer: Any, prompt: str, tokens: int, *, length: int, seed: int = 0, **choice: Any
) -> str:
    """What a model adds to a prompt, until it ends the text; ``choice`` goes to `cs336lite.generation.next_tokens`."""
    generator = torch.Generator().manual_seed(seed)
    end = tokenizer.encode(SEPARATOR)[0]
    found = tokenizer.encode(prompt)
    for _ in range(tokens):
        logits = model(torch.tensor([found[-length:]]))[:, -1]
        found.append(int(next_tokens(logits, generator=generator, **({"temperature": 0.8, "top_p": 0.95} | choice))))
        if found[-1] == end:
            return tokenizer.decode(found[:-1])
    return tokenizer.decode(found)
