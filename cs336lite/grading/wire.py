"""Frames between the trusted client and a worker: a JSON header and raw blobs, and nothing that can run.

    frame  = magic "c3w1" | header length, u32 | body length, u32 | header | body
    header = {"op": ..., "value": <encoded>, "sizes": [bytes in each blob], ...}

None, booleans, numbers and strings are JSON; a list is a JSON list; everything else is an object with a tag:
``{"t": "tuple" | "set" | "dict" | "bytes" | "pairs" | "float" | "tensor", ...}``, where bytes and tensors point to blobs.
"pairs" is a list of pairs of bytes, such as merges, in one blob.
The reader trusts nothing: sizes, depth, counts, types, shapes and dtypes are checked, and what it returns is made
of plain built-in types (and torch tensors that own their memory).

The module imports only the standard library, because the worker loads it by itself, outside the package.
"""

from __future__ import annotations

import gc
import json
import math
import operator
import struct
from collections import Counter
from itertools import accumulate
from typing import Any

MAGIC = b"c3w1"
PREFIX = struct.Struct(">4sII")
MAX_HEADER = 16 << 20  # bytes of JSON
MAX_BODY = 64 << 20  # bytes of all blobs together
MAX_DEPTH = 32
MAX_NODES = 2_000_000
FEWEST_PAIRS = 8  # that are sent as such
MAX_COLLISIONS = 32  # members of one set or dict that may share a hash
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


class WireError(Exception):
    """What arrived is not a frame of this protocol, or what was to be sent cannot be."""


class TooLarge(WireError):
    """A frame with more bytes than `MAX_HEADER` or `MAX_BODY`."""


# -- writing ----------------------------------------------------------------------------------------------------


class _Encoder:
    def __init__(self) -> None:
        self.blobs: list[bytes] = []

    def blob(self, data: bytes) -> int:
        self.blobs.append(data)
        return len(self.blobs) - 1

    def encode(self, value: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise WireError(f"a value is nested deeper than {MAX_DEPTH} levels")
        kind = type(value)
        if kind is bytes:
            return {"t": "bytes", "v": self.blob(value)}
        if kind is list:
            if depth < MAX_DEPTH and are_small_integers(value):
                return value
            return self.pairs(value) if are_pairs(value) else [self.encode(v, depth + 1) for v in value]
        if kind is tuple:
            return {"t": "tuple", "v": [self.encode(v, depth + 1) for v in value]}
        if value is None or kind in (bool, str):
            return value
        if kind is int:
            if not -(2**63) <= value < 2**63:
                raise WireError("an integer needs more than 64 bits")
            return value
        if kind is float:
            return value if math.isfinite(value) else {"t": "float", "v": repr(value)}
        if isinstance(value, (bytes, bytearray)):
            return {"t": "bytes", "v": self.blob(bytes(value))}
        if isinstance(value, dict):
            return {
                "t": "dict",
                "v": [[self.encode(k, depth + 1), self.encode(v, depth + 1)] for k, v in value.items()],
            }
        if isinstance(value, list):
            return [self.encode(v, depth + 1) for v in value]
        if isinstance(value, (tuple, set, frozenset)):
            tag = "tuple" if isinstance(value, tuple) else "set"
            return {"t": tag, "v": [self.encode(v, depth + 1) for v in value]}
        if kind.__module__.split(".")[0] == "torch" or hasattr(value, "__torch_function__"):
            return self.tensor(value)
        if isinstance(value, str):
            return str(value)
        if hasattr(value, "__index__"):  # numpy integers and the like
            return self.encode(operator.index(value), depth + 1)
        if hasattr(value, "__float__"):
            return self.encode(float(value), depth + 1)
        raise WireError(f"a {kind.__name__} is not a value that can be judged")

    def pairs(self, value: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        parts = [part for pair in value for part in pair]
        return {"t": "pairs", "n": [len(part) for part in parts], "v": self.blob(b"".join(parts))}

    def tensor(self, value: Any) -> dict[str, Any]:
        import torch

        tensor = value.detach().to("cpu").contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            raise WireError(f"a tensor of dtype {dtype} cannot be judged")
        shape = list(tensor.shape)
        data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        return {"t": "tensor", "dtype": dtype, "shape": shape, "v": self.blob(data)}


def are_small_integers(value: list) -> bool:
    """Whether a list holds integers of 64 bits and nothing else, which JSON takes as they are."""
    return {*map(type, value)} == {int} and min(value) >= -(2**63) and max(value) < 2**63


def are_pairs(value: list) -> bool:
    return len(value) >= FEWEST_PAIRS and all(
        type(pair) is tuple and len(pair) == 2 and type(pair[0]) is bytes is type(pair[1]) for pair in value
    )


def pack(op: str, value: Any = None, **fields: Any) -> bytes:
    """The bytes of one frame. Raises WireError for a value that cannot pass."""
    encoder = _Encoder()
    header = {"op": op, "value": encoder.encode(value), **fields}
    header["sizes"] = [len(b) for b in encoder.blobs]
    text = json.dumps(header, allow_nan=False).encode()
    size = sum(header["sizes"])
    if len(text) > MAX_HEADER or size > MAX_BODY:
        raise TooLarge(f"an answer of {(len(text) + size) >> 20} MiB is too large to be judged")
    return b"".join([PREFIX.pack(MAGIC, len(text), size), text, *encoder.blobs])


# -- reading ----------------------------------------------------------------------------------------------------


def frame_length(prefix: bytes) -> int:
    """How many bytes follow a frame's first `PREFIX.size` bytes. Raises WireError when they start no frame."""
    magic, header, body = PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise WireError("the bytes received do not begin a frame")
    if header > MAX_HEADER or body > MAX_BODY:
        raise TooLarge(f"a frame of {(header + body) >> 20} MiB is too large")
    return header + body


def unpack(prefix: bytes, rest: bytes) -> dict[str, Any]:
    """The header of a frame, its ``value`` decoded. Raises WireError for anything malformed.

    Meanwhile no garbage is collected: JSON makes no cycles, and to look for them among two million lists takes as long
    again as all the rest.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return _unpack(prefix, rest)
    finally:
        if collects:
            gc.enable()


def _unpack(prefix: bytes, rest: bytes) -> dict[str, Any]:
    _, header_length, body_length = PREFIX.unpack(prefix)
    if len(rest) != header_length + body_length:
        raise WireError("a frame is shorter than it says")
    try:
        header = json.loads(rest[:header_length])
    except (ValueError, RecursionError, MemoryError) as error:
        raise WireError(f"a frame's header is not JSON ({type(error).__name__})") from None
    if not isinstance(header, dict) or not isinstance(header.get("op"), str):
        raise WireError("a frame's header names no operation")
    sizes = header.pop("sizes", [])
    if not isinstance(sizes, list) or any(type(s) is not int or s < 0 for s in sizes) or sum(sizes) != body_length:
        raise WireError("the blob sizes of a frame do not add up")
    blobs, start = [], header_length
    for size in sizes:
        blobs.append(rest[start : start + size])
        start += size
    header["value"] = _Decoder(blobs).decode(header.get("value"))
    return header


class _Decoder:
    def __init__(self, blobs: list[bytes]) -> None:
        self.blobs: list[bytes | None] = list(blobs)
        self.nodes = 0

    def decode(self, value: Any, depth: int = 0) -> Any:
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise WireError("a value is nested too deeply or has too many parts")
        kind = type(value)  # JSON gives no subclasses
        if kind is list:
            if depth < MAX_DEPTH and self.nodes + len(value) <= MAX_NODES and are_small_integers(value):
                self.nodes += len(value)
                return value
            return [self.decode(v, depth + 1) for v in value]
        if kind is int and not -(2**63) <= value < 2**63:
            raise WireError("an integer of more than 64 bits")
        if kind is not dict:
            return value
        tag, content = value.get("t"), value.get("v")
        if tag == "bytes":
            return self.blob(content)
        if tag in ("tuple", "set", "dict") and not isinstance(content, list):
            raise WireError(f"a {tag} without a list of parts")
        if tag == "tuple":
            return tuple([self.decode(v, depth + 1) for v in content])
        if tag == "set":
            return set(self.keys([self.decode(v, depth + 1) for v in content]))
        if tag == "dict":
            if any(not isinstance(pair, list) or len(pair) != 2 for pair in content):
                raise WireError("a dict whose parts are no pairs")
            keys = self.keys([self.decode(k, depth + 1) for k, _ in content])
            return dict(zip(keys, [self.decode(v, depth + 1) for _, v in content]))
        if tag == "float" and content in ("nan", "inf", "-inf"):
            return float(content)
        if tag == "pairs":
            return self.pairs(value)
        if tag == "tensor":
            return self.tensor(value)
        raise WireError("a value with an unknown tag")

    def blob(self, index: Any) -> bytes:
        """A blob's bytes, once: what a frame holds in memory is never more than it sent."""
        if type(index) is not int or not 0 <= index < len(self.blobs) or self.blobs[index] is None:
            raise WireError("a value points to a blob that is not there")
        data, self.blobs[index] = self.blobs[index], None
        return data

    def pairs(self, value: dict[str, Any]) -> list[tuple[bytes, bytes]]:
        sizes, data = value.get("n"), self.blob(value.get("v"))
        if not isinstance(sizes, list) or len(sizes) % 2 or any(type(n) is not int or n < 0 for n in sizes):
            raise WireError("pairs without the sizes of their parts")
        self.nodes += len(sizes) + len(sizes) // 2
        if self.nodes > MAX_NODES:
            raise WireError("a value has too many parts")
        ends = list(accumulate(sizes))
        if (ends[-1] if ends else 0) != len(data):
            raise WireError("pairs whose bytes do not fill their sizes")
        parts = [data[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        return list(zip(parts[0::2], parts[1::2], strict=True))

    def keys(self, values: list[Any]) -> list[Any]:
        """Values that can be dict keys or set members, and are not chosen to make that slow."""
        try:
            shared = Counter(map(hash, values))
        except TypeError:
            raise WireError("a dict key or set member that cannot be hashed") from None
        if shared and max(shared.values()) > MAX_COLLISIONS:
            raise WireError("a dict or set of many members with one hash")
        return values

    def tensor(self, value: dict[str, Any]) -> Any:
        import torch

        shape, dtype, data = value.get("shape"), value.get("dtype"), self.blob(value.get("v"))
        if dtype not in DTYPES:
            raise WireError("a tensor of a dtype that is not allowed")
        if (
            not isinstance(shape, list)
            or len(shape) > 16
            or any(type(n) is not int or not 0 <= n < 2**31 for n in shape)
        ):
            raise WireError("a tensor with an impossible shape")
        kind = getattr(torch, dtype)
        count = math.prod(shape)
        if math.prod(max(n, 1) for n in shape) >= 2**40:
            raise WireError("a tensor with an impossible shape")
        if count * kind.itemsize != len(data):
            raise WireError("a tensor whose bytes do not fill its shape")
        if dtype == "bool" and any(b > 1 for b in set(data)):
            raise WireError("a boolean tensor with bytes that are neither 0 nor 1")
        if count == 0:
            return torch.empty(shape, dtype=kind)
        return torch.frombuffer(bytearray(data), dtype=kind).reshape(shape)
