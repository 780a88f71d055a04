"""Which files of a folder hold the weights, and what is said of a folder that has no such files, or other ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from cs336lite.course.download import is_web_page

_DTYPES = {  # as safetensors calls them
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
MERGE = (
    "and adapters are not supported: merge it into its model first, with peft's "
    "merge_and_unload().save_pretrained(folder)"
)


@dataclass(frozen=True)
class Held:
    """A tensor of theirs, which is read when it is asked for; ``dtype`` is a text where PyTorch has no such type."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | str
    read: Callable[[], Tensor]
    where: str = ""


def listed(lines: list[str]) -> str:
    return "\n  ".join(["", *lines[:10], *[f"… and {len(lines) - 10} more"] * (len(lines) > 10)])


def read_json(path: Path) -> dict[str, Any]:
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


def check_folder(folder: Path) -> None:
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
        raise ValueError(f"{folder} has adapter_config.json, so it is an adapter or has one, {MERGE}")


def weight_files(folder: Path) -> list[Path]:
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
            raise FileNotFoundError(f"{folder} lacks {len(absent)} of {len(files)} files:{listed(absent)}")
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
    places = read_json(index).get("weight_map")
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


def held(path: Path, opened: ExitStack) -> Iterator[Held]:
    file = _open(path, opened)
    for name in file.keys():  # noqa: SIM118 (this is no dictionary)
        part, where = file.get_slice(name), f" in {path.name}"
        dtype = _DTYPES.get(part.get_dtype(), part.get_dtype())
        yield Held(name, tuple(part.get_shape()), dtype, partial(file.get_tensor, name), where)
