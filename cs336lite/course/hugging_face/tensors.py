"""Our tensors from those of a file: all are known to be there with the right shape before the first one is copied."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from cs336lite.course.hugging_face.families import Family
from cs336lite.course.hugging_face.files import MERGE, Held, listed
from cs336lite.model import Transformer, TransformerConfig

PLAIN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

_WRAPPERS = {  # parts of names that a weight has only inside of something else, and of what
    "_orig_mod.": "torch.compile", "module.": "DataParallel or DistributedDataParallel", "base_model.model.": "PEFT",
    "_fsdp_wrapped_module.": "FSDP", "_checkpoint_wrapped_module.": "activation checkpointing",
}  # fmt: skip
_ADAPTER = re.compile(r"\blora_|\.base_layer\.|\.modules_to_save\.")


def _same(a: Held, b: Held) -> bool:
    if a.shape != b.shape:
        return False
    wide = torch.promote_types(a.dtype, b.dtype)
    return torch.equal(a.read().to(wide), b.read().to(wide))


def weights(held: list[Held], family: Family) -> dict[str, Held]:
    """The weights by their bare names. ValueError for adapters, for quantised ones, and for two of one name that differ."""
    if not held:
        raise ValueError("there are no tensors")
    for one in held:
        if _ADAPTER.search(one.name):
            raise ValueError(f"{one.name} is part of a LoRA adapter, {MERGE}")
        for part, wrapper in _WRAPPERS.items():
            if f".{part}" in f".{one.name}":
                raise ValueError(
                    f"{one.name}: {part!r} is put into names by {wrapper}. Save the model inside of it, or take "
                    f"{part!r} out of the names"
                )
    found: dict[str, Held] = {}
    for one in held:
        bare = one.name.removeprefix(family.prefix)
        name = family.same.get(bare, bare)
        if name.endswith(family.constants):
            continue
        if one.dtype not in PLAIN:
            raise ValueError(f"{name} holds {one.dtype}: quantised weights are not supported")
        first = found.setdefault(name, one)
        if first is not one and not _same(first, one):
            both = " and ".join(each.name + each.where for each in (first, one))
            raise ValueError(f"{both} are the same weight of the model, and differ")
    return found


@dataclass(frozen=True)
class Stored:
    """A tensor of theirs: what it is called, which of ours it holds, and how they lie in it."""

    name: str
    ours: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    transposed: bool
    heads: int  # above 0: each of so many heads has its query, key and value side by side

    @property
    def shape(self) -> tuple[int, ...]:
        whole = (sum(shape[0] for shape in self.shapes), *self.shapes[0][1:])
        return whole[::-1] if self.transposed else whole

    def split(self, tensor: Tensor) -> dict[str, Tensor]:
        """Our tensors, as views."""
        tensor = tensor.mT if self.transposed else tensor
        if self.heads:
            tensor = tensor.unflatten(0, (self.heads, 3, -1)).transpose(0, 1).flatten(0, 2)
        return dict(zip(self.ours, tensor.split([shape[0] for shape in self.shapes])))


def _stored(model: Transformer, family: Family) -> Iterator[Stored]:
    """Every tensor that a file must hold for this model."""
    c, ours = model.config, dict(model.named_parameters())
    side_by_side = c.num_kv_heads in (None, c.num_heads)
    for theirs, modules in family.modules.items():
        for layer in range(max(c.num_layers, c.num_encoder_layers) if "{}" in theirs else 1):
            for kind in ("weight", "bias"):
                names = tuple(f"{module}.{kind}".replace("{}", str(layer)) for module in modules.split())
                if names[0] in ours:
                    yield Stored(
                        f"{theirs}.{kind}".replace("{}", str(layer)), names, tuple(tuple(ours[n].shape) for n in names),
                        kind == "weight" and theirs.endswith(family.transposed),
                        c.num_heads if side_by_side and theirs.endswith(family.by_head) else 0,
                    )  # fmt: skip


def _check(stored: list[Stored], found: Mapping[str, Held], unasked: str | None) -> None:
    """ValueError that lists what is missing, what has another shape, and what nobody asks for but ``unasked``."""
    wanted = {part.name: part.shape for part in stored}
    extra = [f"{name} {one.shape}" for name, one in found.items() if name not in wanted and name != unasked]
    without_place = f"{len(extra)} tensors have no place in this model:{listed(extra)}"
    missing = [f"{name} {shape}" for name, shape in wanted.items() if name not in found]
    if missing:
        instead = f"\nand {without_place}" if extra else ""
        raise ValueError(f"{len(missing)} of {len(wanted)} tensors are missing:{listed(missing)}{instead}")
    wrong = [f"{n} is {found[n].shape}, wanted {shape}" for n, shape in wanted.items() if found[n].shape != shape]
    if wrong:
        raise ValueError(f"{len(wrong)} tensors do not have the shape that the configuration asks for:{listed(wrong)}")
    if extra:
        raise ValueError(without_place)


def is_tied(config: TransformerConfig, family: Family, found: Mapping[str, Held]) -> bool:
    """Whether the output layer is the embedding: as configured, unless the file has another output layer (T5 v1.1)."""
    output, table = (found.get(family.name_of(ours)) for ours in ("output", "embedding"))
    tied = config.tied_embeddings or family.tied
    return tied and (output is None or table is None or _same(output, table))


def _same_tensors(model: Transformer) -> dict[str, str]:
    """Each name of a parameter, and the first name of the same parameter."""
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(p), name)
        for name, p in model.state_dict(keep_vars=True).items() if isinstance(p, nn.Parameter)
    }  # fmt: skip


def _widest(held: list[Held]) -> torch.dtype:
    """A dtype that holds all of these exactly, and a warning if they have several."""
    counts = Counter(one.dtype for one in held)
    widest = reduce(torch.promote_types, counts)
    if len(counts) > 1:
        they = " and ".join(f"{number} in {dtype}" for dtype, number in counts.items())
        warnings.warn(f"{they}: all tensors are loaded in {widest}; dtype= chooses another", stacklevel=4)
    return widest


def convert(
    model: Transformer, family: Family, found: Mapping[str, Held], dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """Our tensors from theirs, copied one after the other once all are known to fit; shared ones are one object."""
    stored = list(_stored(model, family))
    placed = {name for part in stored for name in part.ours}
    without = [name for name, _ in model.named_parameters() if name not in placed]
    if without:
        raise ValueError(f"the family has nothing for these parts of the configuration:{listed(without)}")
    _check(stored, found, family.name_of("output") if model.config.tied_embeddings else None)
    dtype = dtype or _widest([found[part.name] for part in stored])
    state: dict[str, Tensor] = {}
    for part in stored:
        for name, view in part.split(found[part.name].read()).items():
            state[name] = view.to(dtype, copy=True, memory_format=torch.contiguous_format)
    return {name: state[first] for name, first in _same_tensors(model).items()}


def check_dtype(dtype: torch.dtype | None) -> None:
    if dtype is not None and dtype not in PLAIN:
        raise ValueError(f"dtype is {dtype!r}, and must be None or one of {', '.join(map(str, PLAIN))}")
