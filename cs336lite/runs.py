"""What a training run needs of the machine: devices that are there, files that are whole, errors that say what is wrong."""

from __future__ import annotations

import errno
import math
import os
import pickle
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import nn

from cs336lite.model import BOUNDED, TransformerConfig
from cs336lite.scratch import part_of, sweep_parts

NPY, ZIP = b"\x93NUMPY", b"PK"  # how such files begin
BLOCK = 2**20  # ids that are looked at together


class CheckpointError(ValueError):
    """A file that training cannot go on from, or cannot write; the text says why."""


def whole(name: str, value: Any, least: int) -> int:
    """A whole number as Python's int. ValueError for another kind of value, and for one below the least."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, but must be a whole number")
    if value < least:
        raise ValueError(f"{name} is {value}, but must be at least {least}")
    return int(value)


def real(name: str, value: Any, most: float = math.inf) -> float:
    """A finite number, at least 0, as Python's. ValueError for another kind of value, and for one above the most."""
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, but must be a finite number")
    if not 0 <= value <= most:
        raise ValueError(f"{name} is {value}, but " + ("must be at least 0" if value < 0 else f"shares end at {most}"))
    return value if isinstance(value, int | float) else float(value)


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device of this name; None takes a GPU if there is one. ValueError, with what there is, for one not here."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, TypeError, ImportError) as problem:
        there = "'cpu'"
        if torch.accelerator.is_available():
            kind, count = torch.accelerator.current_accelerator().type, torch.accelerator.device_count()
            there += f" and {kind!r}" + (f" ('{kind}:0' to '{kind}:{count - 1}')" if count > 1 else "")
        why = str(problem).partition("\n")[0][:200]
        raise ValueError(f"device {str(name)!r} cannot be used here; there is {there}. PyTorch says: {why}") from None
    return device


@contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` at the end of the block: nobody ever sees half a file.

    What a killed process leaves of it is removed by the next one that writes to ``path``: see `scratch.part_of`.
    """
    place = _place(path)
    with _part(place) as part:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())  # the bytes reach the disk before the name does
        os.chmod(part, 0o644)
        os.replace(part, place)


def check_writable(path: str | Path) -> None:
    """Whether `written` will be able to write ``path``: OSError, which says why not, now and not after hours of work."""
    with _part(_place(path)):
        pass


def _place(path: str | Path) -> Path:
    """Where a file will lie: where a link leads. OSError for what names no file."""
    if os.fspath(path).endswith(("/", os.sep)):
        raise IsADirectoryError(f"{path} is the name of a folder: give the path of a file")
    if Path(path).parts[:1] == ("~",):
        raise FileNotFoundError(f"{path} begins with ~, which only a shell understands: give Path.home() / ...")
    return Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """`part_of` a file. OSError, in words, when ``path`` cannot be written."""
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():
                raise IsADirectoryError(f"{path} is no file, but a folder or a device: give the path of a file")
            part = stack.enter_context(part_of(path))
        except FileExistsError:
            raise NotADirectoryError(f"{path} cannot be written: {path.parent} is no folder") from None
        except OSError as problem:
            if problem.errno is None:
                raise
            raise type(problem)(f"{path} cannot be written: {problem.strerror}") from None
        yield part


def check_places(checkpoint: str | Path | None, every: int, log: str | Path | None) -> None:
    """Whether what a run will write can be written. CheckpointError for the checkpoint, OSError for the log."""
    whole("checkpoint_every", every, 0)
    if every and not checkpoint:
        raise ValueError(f"checkpoint_every is {every}, and there is no path: give checkpoint too")
    if checkpoint and log and Path(checkpoint).resolve() == Path(log).resolve():
        raise ValueError(f"checkpoint and log are the same file, {log}")
    if log:
        check_writable(log)
    try:
        if checkpoint:
            check_writable(checkpoint)
    except OSError as problem:
        raise CheckpointError(str(problem)) from None


def open_ids(source: Any, dtype: Any = None) -> np.ndarray:
    """A row of integers: of an array, or of an .npy file, which is mapped into memory and not read.

    A file that holds nothing but ids needs their ``dtype``. ValueError, in words, for what holds no such row.
    """
    if isinstance(source, Path):
        ids = _mapped(source) if dtype is None else _headerless(source, np.dtype(dtype))
    elif dtype is not None:
        raise ValueError("dtype is for a file without a header, and these ids are no file")
    else:
        ids = np.asarray(source)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"token ids are one row of integers, not {ids.dtype} of shape {ids.shape}")
    return ids


def _mapped(path: Path) -> np.ndarray:
    with open(path, "rb") as file:
        size, begin = os.fstat(file.fileno()).st_size, file.read(len(NPY))
        if begin.startswith(ZIP):
            raise ValueError(f"{path} is an archive (.npz or .pt): take its one array of ids out, and use write_tokens")
        if begin != NPY:
            what = "is no .npy file" if begin else "is empty"
            raise ValueError(f"{path} {what}; ids without a header (nanoGPT's .bin) need Tokens(path, dtype=np.uint16)")
        try:
            file.seek(0)
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
        except ValueError as problem:
            raise ValueError(f"{path} has a damaged header: write it again ({problem})") from None
        promised = file.tell() + dtype.itemsize * math.prod(shape)
    if dtype.hasobject:
        raise ValueError(f"{path} holds Python objects: token ids are one row of integers")
    if size < promised:
        raise ValueError(f"{path} is cut short: it has {size:,} bytes of {promised:,}; write it again")
    return np.load(path, mmap_mode="r")


def _headerless(path: Path, dtype: np.dtype) -> np.ndarray:
    with open(path, "rb") as file:
        size, begin = os.fstat(file.fileno()).st_size, file.read(len(NPY))
    if begin == NPY:
        raise ValueError(f"{path} is an .npy file, which says its dtype itself: leave dtype out")
    if size == 0 or size % dtype.itemsize:
        raise ValueError(f"{path} has {size:,} bytes, which are no ids of {dtype.itemsize} bytes each ({dtype})")
    return np.memmap(path, dtype, mode="r")


def check_ids(ids: np.ndarray, seq: int, vocab_size: int | None = None) -> None:
    """ValueError when there is no window of ``seq`` tokens and the next, or an id outside 0 <= id < vocab_size."""
    if len(ids) <= seq:
        raise ValueError(f"a window takes {seq + 1} tokens, and there are {len(ids)}")
    for start in range(0, 0 if vocab_size is None else len(ids), BLOCK):
        part = ids[start : start + BLOCK]
        if part.min() < 0 or part.max() >= vocab_size:
            bad = int(np.flatnonzero((part < 0) | (part >= vocab_size))[0])
            raise ValueError(f"id {part[bad]} at position {start + bad}, and the vocabulary is 0 to {vocab_size - 1}")


def sequence_length(model: Any, config: Any) -> int:
    """Tokens in a sequence of this run. ValueError when nothing says it, or it is more than the model's positions."""
    shape = getattr(model, "config", model)
    limit = getattr(shape, "context_length", None)
    if config.seq is None and limit is None:
        raise ValueError("the model has no context_length: say how long a sequence is, TrainingConfig(seq=...)")
    if config.seq is not None and getattr(shape, "positions", None) in BOUNDED and config.seq > limit:
        raise ValueError(f"seq is {config.seq}, and the model's context_length is {limit}")
    return config.seq or limit


def check_run(model: Any, config: Any, data: Any, validation: Any) -> None:
    """ValueError for what would end a run later: text shorter than a window, ids that the model does not know."""
    if not isinstance(model, nn.Module | TransformerConfig):
        raise ValueError(f"the model is {model!r:.99}: give a TransformerConfig, or a module with a loss")
    seq, vocab_size = sequence_length(model, config), getattr(getattr(model, "config", model), "vocab_size", None)
    for name, tokens in {"data": data, "validation": validation}.items():
        if tokens is None and name == "validation":
            continue
        if not isinstance(getattr(tokens, "ids", None), np.ndarray):
            raise ValueError(f"{name} is a {type(tokens).__name__}: give cs336lite.training.Tokens")
        try:
            check_ids(tokens.ids, seq, vocab_size)
        except ValueError as problem:
            raise ValueError(f"{name}: {problem}") from None


def check_sweep(experiments: Iterable[Any], data: Any, validation: Any, cache: str | Path | None) -> None:
    """`check_run` for each, and whether their results can be kept. ValueError for a module: its first run changes it."""
    for experiment in experiments:
        if isinstance(experiment.model, nn.Module):
            raise ValueError(f"the model of {experiment.name!r} is a module, which a run changes: give its config")
        check_run(experiment.model, experiment.training, data, validation)
    if cache:
        check_writable(Path(cache) / "run.json")
        sweep_parts(cache, "*.json")


def whole_blocks(ids: Iterable[int]) -> Iterator[np.ndarray]:
    """Whole numbers, as they come, in arrays. ValueError for one that is not whole."""
    ids, done = iter(ids.tolist() if isinstance(ids, torch.Tensor) else ids), 0
    while (block := np.array(list(islice(ids, BLOCK)))).size:
        if block.ndim != 1 or block.dtype.kind not in "iuf" or (block != np.floor(block)).any():
            raise ValueError(f"token ids are whole numbers, and not all of them from position {done} on are")
        yield block
        done += block.size


def load_whole(path: str | Path) -> Any:
    """What `torch.save` wrote, as plain values and tensors on the CPU, after its checksums, which PyTorch leaves out.

    FileNotFoundError when there is no file; CheckpointError when it cannot be read, is damaged, or another file.
    """
    try:
        with open(path, "rb") as file:
            begin = file.read(len(ZIP))
            if not begin or (begin == ZIP and not _whole(file)):
                raise CheckpointError(f"{path} is cut short or damaged: move it away to start again")
            file.seek(0)
            if begin == ZIP:
                return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise CheckpointError(f"{path} cannot be read now: {problem.strerror or problem}") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError) as problem:
        if "you tried to allocate" in str(problem):
            raise CheckpointError(f"{path} does not fit into the memory of this machine") from None
    raise CheckpointError(f"{path} holds something else than plain values and tensors of torch.save: give another path")


def save_whole(path: str | Path, content: Any) -> None:
    """`torch.save`, which leaves the old file until the new is whole. CheckpointError when it cannot be written."""
    try:
        with written(path) as part, open(part, "wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as problem:
        cause = problem if isinstance(problem, OSError) else problem.__context__  # PyTorch hides what happened
        if not isinstance(cause, OSError):
            raise
        raise CheckpointError(f"{path} could not be saved, and is as it was: {cause.strerror or cause}") from None


def _whole(file: BinaryIO) -> bool:
    """Whether a zip archive has its directory, and each record the checksum that it says."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except Exception as problem:  # zipfile raises many kinds of error for bytes that make no sense
        if isinstance(problem, OSError) and problem.errno != errno.EINVAL:  # EINVAL: a place before the file's begin
            raise
        return False


def plain_names(values: dict[str, Any]) -> dict[str, Any]:
    """The same values under the names that modules and parameters have without `torch.compile`."""
    return {".".join(part for part in name.split(".") if part != "_orig_mod"): x for name, x in values.items()}


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What is different between two flat descriptions, in words: the first five, and how many more there are."""
    usual = {name: "missing" if name.startswith("module.") else "the default" for name in sorted({*before, *now})}
    pairs = {name: (before.get(name, x), now.get(name, x)) for name, x in usual.items()}
    told = [f"{name} was {was} and is {other}" for name, (was, other) in pairs.items() if was != other]
    return "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")


def layers(module: nn.Module) -> dict[str, Any]:
    """What a module is made of, as a flat dict: its layers, with what they say of themselves, and their shapes."""
    found = {name: layer for name, layer in module.named_modules() if not hasattr(layer, "_orig_mod")}
    flat = {name: f"{type(layer).__qualname__}({layer.extra_repr()})" for name, layer in found.items()}
    flat |= {name: list(getattr(x, "shape", ())) for name, x in module.state_dict().items()}
    return {f"module.{name or 'class'}": x for name, x in plain_names(flat).items()}
