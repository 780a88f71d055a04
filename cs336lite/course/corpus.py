"""Text to learn from that needs no network, and is the same bytes on every machine.

    text = technical_text()        # 1 MB of English with code and formulas in it
    path = default_corpus()        # 4 MB: stories, technical text and some Chinese

The stories come from our own seeded grammar. The technical text is PyTorch's documentation, read from the source files of
the installed package with `ast`: nothing is imported, so neither the interpreter nor whoever patches it (a Jupyter
kernel, a debugger) can change a byte. PyTorch is pinned to one version, and its sources are the same in every build of it.

Both texts are kept in the data folder and compared with their sha256 whenever they are read.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from cs336lite.course.paths import (
    CourseError,
    data_folder,
    make_folder,
    told_of_the_disk,
    whole_number,
    write_atomic,
)
from cs336lite.course.stories import Draw, chinese_stories, stories

__all__ = ["SEPARATOR", "chinese_passage", "default_corpus", "technical_text"]

SEPARATOR = "<|endoftext|>"

TORCH = "2.13.0"
"""The version of PyTorch whose documentation is the technical text."""

PARTS = "nn optim autograd distributions utils/data utils/checkpoint.py functional.py amp hub.py serialization.py library.py"
"""Files and folders of PyTorch whose docstrings are worth reading, from its package folder."""

COPIES = frozenset("quantized quantizable qat intrinsic".split())
"""Folders below them that repeat the documentation of others."""

TECHNICAL_SHA256 = "f523b816aa3a1ba196c1df2054e976a349962de51a3d3748b600db008f5e5592"
DEFAULT_SIZE = 4_000_000
DEFAULT_SHA256 = "fbf7075de9287a24976bb59e3929d87bdfa23cb93a444a5a11355ae7edcfd9ba"


def technical_text() -> str:
    """The documentation in PyTorch's sources: about 1 MB, documents separated by ``<|endoftext|>``.

    Documents are in a fixed random order, so that a cut anywhere gives two parts of one kind. The sha256 of its UTF-8
    bytes is `TECHNICAL_SHA256` with PyTorch `TORCH`. With another version the text is another one, and a warning says so.
    """
    path = data_folder() / f"technical-{TECHNICAL_SHA256[:12]}.txt"
    try:
        kept = path.read_bytes()
    except OSError:  # not there yet, or not to be read
        kept = b""
    if hashlib.sha256(kept).hexdigest() == TECHNICAL_SHA256:
        return kept.decode()
    text = f"\n{SEPARATOR}\n".join(shuffled(_technical_documents(), Draw("technical text")))
    if hashlib.sha256(text.encode()).hexdigest() != TECHNICAL_SHA256:
        warnings.warn(_other_text(), stacklevel=2)
    else:
        with suppress(OSError):  # a text that cannot be kept is made again each time
            write_atomic(path, text)
    return text


def _other_text() -> str:
    try:
        installed = version("torch")
    except PackageNotFoundError:
        installed = "of an unknown version"
    return (
        f"the course's technical text is the documentation of PyTorch {TORCH}, and the sources of the installed PyTorch "
        f"{installed} hold another one: measurements will differ from the recorded ones. For the same text: pip install "
        f"torch=={TORCH}"
    )


def _technical_documents() -> list[str]:
    """The docstrings of `PARTS`, each once, in the order of the sources; short ones are mere signatures.

    Raises CourseError when there are no source files, as where PyTorch is in a zip file or compiled.
    """
    found = find_spec("torch")
    root = Path(found.origin).parent if found and found.origin else Path("torch")
    texts: dict[str, None] = {}
    try:
        for part in PARTS.split():
            files = [root / part] if part.endswith(".py") else (root / part).rglob("*.py")
            for file in sorted(files, key=lambda file: file.relative_to(root).parts):
                inside = file.relative_to(root).with_suffix("").parts
                if COPIES.isdisjoint(inside) and not any(n.startswith("_") and n != "__init__" for n in inside):
                    texts |= dict.fromkeys(_docstrings(ast.parse(file.read_bytes())))
    except OSError as error:
        raise CourseError(
            f"the course's technical text is the documentation in PyTorch's sources, and {root} does not have them "
            f"({error}): pip install torch=={TORCH}"
        ) from error
    return [text for text in texts if len(text) >= 200]


def _docstrings(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    """The docstrings of a module, a class or a function, and of all that is public in it, in the order of the source."""
    written = ast.get_docstring(node, clean=False)
    if written:
        yield inspect.cleandoc(written).replace(SEPARATOR, "").strip()
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            yield from _docstrings(child)


def chinese_passage() -> str:
    """A short essay of ours in Chinese on how language models read text (机器怎样读一句话)."""
    return _packaged("text_zh.txt").decode("utf-8").strip()


def default_corpus(folder: str | Path | None = None, *, size: int = DEFAULT_SIZE) -> Path:
    """The path of a text file of about ``size`` bytes: stories, technical text and some Chinese, the same everywhere.

    By bytes about 70 % small English stories, up to 20 % `technical_text`, 10 % Chinese. Documents are in a fixed random
    order, so that a cut anywhere gives two parts of one kind. The file is kept in ``folder`` (by default `data_folder`);
    one that does not have its sha256 is made again. That of the usual size is `DEFAULT_SHA256`.

    Raises:
        ValueError: ``size`` is no whole number from 10,000 on.
        CourseError: the folder cannot be made, the file cannot be written, or PyTorch's sources cannot be read.
    """
    size = whole_number("size", size, 10_000, "4_000_000")
    technical = technical_text()
    # the name holds what the content depends on and its own sha256: an old or a damaged file is never taken for this one
    sources = [
        _packaged(name) for name in ("corpus.py", "stories.py", "stories_en.txt", "stories_zh.txt", "text_zh.txt")
    ]
    recipe = _short(b"\0".join([*sources, technical.encode()]))
    begin = f"default-{size}-{recipe}-"
    folder = make_folder(folder)
    for path in sorted(folder.glob(f"{begin}*.txt")):
        with suppress(OSError):  # one that cannot be read is made again
            if path.stem == begin + _short(path.read_bytes()):
                return path
    content = "".join(f"{text}\n{SEPARATOR}\n" for text in _mixed(technical.split(f"\n{SEPARATOR}\n"), size)).encode()
    path = folder / f"{begin}{_short(content)}.txt"
    with told_of_the_disk(path.name, folder):
        write_atomic(path, content)
    return path


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _mixed(technical: list[str], size: int) -> list[str]:
    """The documents of a corpus of ``size`` bytes, in a fixed random order."""
    draw = Draw("default corpus")
    chosen = [chinese_passage()]
    chosen += take(_batches(chinese_stories), size // 10 - _cost(chosen[0]))
    chosen += take(technical, size // 5)
    chosen += take(_batches(stories), size - sum(map(_cost, chosen)))
    return shuffled(chosen, draw)


def shuffled(texts: list[str], draw: Draw) -> list[str]:
    return draw.some(texts, len(texts))


def take(texts: Iterable[str], size: int) -> list[str]:
    """Texts in order that fit into ``size`` bytes together, passing over longer ones until 20 in all did not fit."""
    chosen, misses = [], 0
    for text in texts:
        if _cost(text) <= size:
            chosen.append(text)
            size -= _cost(text)
        elif (misses := misses + 1) == 20:
            break
    return chosen


def _cost(text: str) -> int:
    return len(text.encode()) + len(SEPARATOR) + 2


def _batches(tell) -> Iterator[str]:
    """Stories without end: batch after batch, each with its own seed."""
    seed = 0
    while True:
        yield from tell(200, seed)
        seed += 1


def _packaged(name: str) -> bytes:
    """A file of this package; its line ends are those of the repository, whatever a checkout made of them."""
    return resources.files("cs336lite.course").joinpath(name).read_bytes().replace(b"\r\n", b"\n")
