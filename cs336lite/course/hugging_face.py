"""Weights from Hugging Face's files (权重) for the model of lecture 03.

`load_hugging_face` reads a folder with config.json and safetensors as GPT-2, Llama, BLOOM, StarCoder, T5, GLM-4 and
ChatGLM2 come; `config_from_hugging_face` and `from_hugging_face` are its two halves. Which file is read, and what a config
means, is as in transformers 5.23; what cannot be read so is refused by name.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cs336lite.course.download import is_web_page
from cs336lite.course.families import FAMILIES, Family, config_from_hugging_face, family_of
from cs336lite.model import Transformer, TransformerConfig

__all__ = ["FAMILIES", "WithoutMemory", "config_from_hugging_face", "from_hugging_face", "load_hugging_face"]

_DTYPES = {  # as safetensors calls them
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_PLAIN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

_WRAPPERS = {  # parts of names that a weight has only inside of something else, and of what
    "_orig_mod.": "torch.compile", "module.": "DataParallel or DistributedDataParallel", "base_model.model.": "PEFT",
    "_fsdp_wrapped_module.": "FSDP", "_checkpoint_wrapped_module.": "activation checkpointing",
}  # fmt: skip
_ADAPTER = re.compile(r"\blora_|\.base_layer\.|\.modules_to_save\.")
_MERGE = (
    "and adapters are not supported: merge it into its model first, with peft's "
    "merge_and_unload().save_pretrained(folder)"
)


@dataclass(frozen=True)
class _Held:
    """A tensor of theirs, which is read when it is asked for; ``dtype`` is a text where PyTorch has no such type."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | str
    read: Callable[[], Tensor]
    where: str = ""


def _same(a: _Held, b: _Held) -> bool:
    if a.shape != b.shape:
        return False
    wide = torch.promote_types(a.dtype, b.dtype)
    return torch.equal(a.read().to(wide), b.read().to(wide))


def _weights(held: list[_Held], family: Family) -> dict[str, _Held]:
    """The weights by their bare names. ValueError for adapters, for quantised ones, and for two of one name that differ."""
    if not held:
        raise ValueError("there are no tensors")
    for one in held:
        if _ADAPTER.search(one.name):
            raise ValueError(f"{one.name} is part of a LoRA adapter, {_MERGE}")
        for part, wrapper in _WRAPPERS.items():
            if f".{part}" in f".{one.name}":
                raise ValueError(
                    f"{one.name}: {part!r} is put into names by {wrapper}. Save the model inside of it, or take "
                    f"{part!r} out of the names"
                )
    found: dict[str, _Held] = {}
    for one in held:
        bare = one.name.removeprefix(family.prefix)
        name = family.same.get(bare, bare)
        if name.endswith(family.constants):
            continue
        if one.dtype not in _PLAIN:
            raise ValueError(f"{name} holds {one.dtype}: quantised weights are not supported")
        first = found.setdefault(name, one)
        if first is not one and not _same(first, one):
            both = " and ".join(each.name + each.where for each in (first, one))
            raise ValueError(f"{both} are the same weight of the model, and differ")
    return found


@dataclass(frozen=True)
class _Stored:
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


def _stored(model: Transformer, family: Family) -> Iterator[_Stored]:
    """Every tensor that a file must hold for this model."""
    c, ours = model.config, dict(model.named_parameters())
    side_by_side = c.num_kv_heads in (None, c.num_heads)
    for theirs, modules in family.modules.items():
        for layer in range(max(c.num_layers, c.num_encoder_layers) if "{}" in theirs else 1):
            for kind in ("weight", "bias"):
                names = tuple(f"{module}.{kind}".replace("{}", str(layer)) for module in modules.split())
                if names[0] in ours:
                    yield _Stored(
                        f"{theirs}.{kind}".replace("{}", str(layer)), names, tuple(tuple(ours[n].shape) for n in names),
                        kind == "weight" and theirs.endswith(family.transposed),
                        c.num_heads if side_by_side and theirs.endswith(family.by_head) else 0,
                    )  # fmt: skip


def _listed(lines: list[str]) -> str:
    return "\n  ".join(["", *lines[:10], *[f"… and {len(lines) - 10} more"] * (len(lines) > 10)])


def _check(stored: list[_Stored], found: Mapping[str, _Held], unasked: str | None) -> None:
    """ValueError that lists what is missing, what has another shape, and what nobody asks for but ``unasked``."""
    wanted = {part.name: part.shape for part in stored}
    extra = [f"{name} {one.shape}" for name, one in found.items() if name not in wanted and name != unasked]
    without_place = f"{len(extra)} tensors have no place in this model:{_listed(extra)}"
    missing = [f"{name} {shape}" for name, shape in wanted.items() if name not in found]
    if missing:
        instead = f"\nand {without_place}" if extra else ""
        raise ValueError(f"{len(missing)} of {len(wanted)} tensors are missing:{_listed(missing)}{instead}")
    wrong = [f"{n} is {found[n].shape}, wanted {shape}" for n, shape in wanted.items() if found[n].shape != shape]
    if wrong:
        raise ValueError(f"{len(wrong)} tensors do not have the shape that the configuration asks for:{_listed(wrong)}")
    if extra:
        raise ValueError(without_place)


def _is_tied(config: TransformerConfig, family: Family, found: Mapping[str, _Held]) -> bool:
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


def _widest(held: list[_Held]) -> torch.dtype:
    """A dtype that holds all of these exactly, and a warning if they have several."""
    counts = Counter(one.dtype for one in held)
    widest = reduce(torch.promote_types, counts)
    if len(counts) > 1:
        they = " and ".join(f"{number} in {dtype}" for dtype, number in counts.items())
        warnings.warn(f"{they}: all tensors are loaded in {widest}; dtype= chooses another", stacklevel=4)
    return widest


def _convert(
    model: Transformer, family: Family, found: Mapping[str, _Held], dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """Our tensors from theirs, copied one after the other once all are known to fit; shared ones are one object."""
    stored = list(_stored(model, family))
    placed = {name for part in stored for name in part.ours}
    without = [name for name, _ in model.named_parameters() if name not in placed]
    if without:
        raise ValueError(f"the family has nothing for these parts of the configuration:{_listed(without)}")
    _check(stored, found, family.name_of("output") if model.config.tied_embeddings else None)
    dtype = dtype or _widest([found[part.name] for part in stored])
    state: dict[str, Tensor] = {}
    for part in stored:
        for name, view in part.split(found[part.name].read()).items():
            state[name] = view.to(dtype, copy=True, memory_format=torch.contiguous_format)
    return {name: state[first] for name, first in _same_tensors(model).items()}


def _check_dtype(dtype: torch.dtype | None) -> None:
    if dtype is not None and dtype not in _PLAIN:
        raise ValueError(f"dtype is {dtype!r}, and must be None or one of {', '.join(map(str, _PLAIN))}")


class WithoutMemory(TorchFunctionMode):
    """Within it a model is made in no time: the weights of PyTorch's layers lie on the meta device, and are not drawn.

    Everything else is as ever, so that tables of positions hold their values; with ``torch.device("meta")`` around it
    they take no memory either.

    >>> with WithoutMemory():
    ...     nn.Linear(2, 2).weight.is_meta
    True
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.empty:
            return func(*args, **(kwargs or {}) | {"device": "meta"})
        if func in (Tensor.normal_, Tensor.uniform_) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def from_hugging_face(
    state: Mapping[str, Tensor], config: TransformerConfig, family: str, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """The tensors of a Hugging Face model under our names and in our layout, for ``load_state_dict``; copies.

    ``family`` is a ``model_type``, a name in `FAMILIES`. ``dtype`` None is the dtype that the tensors have, and the widest
    of several, with a warning. ValueError for tensors that are missing, have another shape than the configuration asks
    for, have no place in the model, are there twice and differ, are quantised, or belong to an adapter.
    """
    if family not in FAMILIES:
        raise ValueError(f"the family {family!r} is not known, and those supported are {', '.join(FAMILIES)}")
    _check_dtype(dtype)
    theirs = family_of(config, family)
    held = [_Held(name, tuple(x.shape), x.dtype, lambda x=x: x) for name, x in state.items()]
    found = _weights(held, theirs)
    if config.tied_embeddings and not _is_tied(config, theirs, found):
        raise ValueError(
            f"{theirs.name_of('output')} is not the embedding, so the configuration must have tied_embeddings=False"
        )
    with WithoutMemory():
        model = Transformer(config)
    return _convert(model, theirs, found, dtype)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        _refuse_broken_link(path)
        raise FileNotFoundError(f"there is no {path.name} in {path.parent}")
    try:
        read = json.loads(path.read_text(encoding="utf-8-sig"))  # Windows puts a mark in front
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(read, dict):
        raise ValueError(f"{path} holds {str(read)[:40]!r}, and must hold an object {{...}}")
    return read


def _refuse_broken_link(path: Path) -> None:
    if path.is_symlink():
        raise FileNotFoundError(f"{path} is a link to {path.readlink()}, which is not there: download the model again")


def _check_folder(folder: Path) -> None:
    """FileNotFoundError for what is no folder, ValueError for an adapter."""
    if folder.is_file():
        raise FileNotFoundError(f"{folder} is a file: give the folder that holds it, with config.json")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no config.json in {folder}, which is no folder on this disk. Download a model of huggingface.co first, "
            "with: hf download NAME --local-dir FOLDER"
        )
    if (folder / "snapshots").is_dir() and not (folder / "config.json").is_file():
        snapshots = ", ".join(sorted(str(path) for path in (folder / "snapshots").iterdir()))
        raise FileNotFoundError(f"{folder} is the cache of a model with all its versions: give one of {snapshots}")
    if (folder / "adapter_config.json").is_file():
        raise ValueError(f"{folder} has adapter_config.json, so it is an adapter or has one, {_MERGE}")


def _files(folder: Path) -> list[Path]:
    """The safetensors that transformers would read: model.safetensors, or else the shards that its index names.

    FileNotFoundError, with what is there, if they are not.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    for path in (single, index):
        if not path.exists():
            _refuse_broken_link(path)
    if single.is_file():
        return [single]
    if index.is_file():
        files = [folder / name for name in _shards(index)]
        absent = [path.name for path in files if not path.is_file()]
        if absent:
            raise FileNotFoundError(f"{folder} lacks {len(absent)} of {len(files)} files:{_listed(absent)}")
        return files
    neither = f"there is neither model.safetensors nor model.safetensors.index.json in {folder}"
    if others := sorted(path.name for path in folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"{neither}, only {', '.join(others[:3])}. Parts need their index; another copy of the whole, in the names of "
            "Hugging Face, must be called model.safetensors"
        )
    if pickled := sorted(path.name for end in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{end}")):
        raise FileNotFoundError(
            f"{folder} has {pickled[0]} and no safetensors. A pickle can run any program, so it is not opened: "
            "save it with save_pretrained(folder, safe_serialization=True), or download the safetensors"
        )
    raise FileNotFoundError(neither)


def _shards(index: Path) -> list[str]:
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{index} has no weight_map, an object that says for each tensor in which file it is")
    for name, file in places.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise ValueError(
                f"weight_map of {index} says that {name} is in {file!r}, which is no name of a file beside it"
            )
    return sorted(set(places.values()))


def _open(path: Path, opened: ExitStack) -> Any:
    try:
        return opened.enter_context(safe_open(path, framework="pt"))
    except SafetensorError as error:
        with open(path, "rb") as file:
            begin = file.read(1024)
        if begin.startswith(b"version https://git-lfs"):
            raise ValueError(
                f"{path} is a pointer of Git LFS and not the file itself: run `git lfs pull` there"
            ) from None
        if is_web_page(begin):
            raise ValueError(
                f"{path} is a web page and not the file that it is named after: download it again"
            ) from None
        raise ValueError(f"{path} is damaged or was not copied to its end: {error}") from None


def _held(path: Path, opened: ExitStack) -> Iterator[_Held]:
    file = _open(path, opened)
    for name in file.keys():  # noqa: SIM118 (this is no dictionary)
        part, where = file.get_slice(name), f" in {path.name}"
        dtype = _DTYPES.get(part.get_dtype(), part.get_dtype())
        yield _Held(name, tuple(part.get_shape()), dtype, partial(file.get_tensor, name), where)


def load_hugging_face(folder: str | Path, dtype: torch.dtype | None = None) -> Transformer:
    """The model in a folder that Hugging Face's ``save_pretrained`` wrote or its hub gave, ready for use (``eval``).

    Reads config.json and memory-mapped safetensors, tensor by tensor, into memory that is taken when all of them are
    known to be there with the right shape. ``dtype`` None is the dtype that the tensors have, and the widest of several,
    with a warning. Raises FileNotFoundError for missing files and ValueError for what `config_from_hugging_face` and
    `from_hugging_face` refuse, an adapter, or a damaged file.

    >>> load_hugging_face("gpt2")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: there is no config.json in gpt2, which is no folder on this disk. ...
    """
    folder = Path(folder)
    _check_dtype(dtype)
    _check_folder(folder)
    settings = _read_json(folder / "config.json")
    try:
        config = config_from_hugging_face(settings)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
    family = family_of(config, settings["model_type"])
    with ExitStack() as opened:
        held = [one for path in _files(folder) for one in _held(path, opened)]
        try:
            found = _weights(held, family)
            with WithoutMemory():
                model = Transformer(config.replace(tied_embeddings=_is_tied(config, family, found)))
            state = _convert(model, family, found, dtype)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
    parameters = {id(tensor): nn.Parameter(tensor) for tensor in state.values()}
    model.load_state_dict({name: parameters[id(tensor)] for name, tensor in state.items()}, assign=True)
    return model.eval()
